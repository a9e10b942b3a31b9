"""`musicgen app`: the page in the browser, the server behind it and its API.

    limits      what one person may ask of a server that many share
    connections, hosts, guard, calls, policy, log   what strangers can't do: see docs/server.md
    checks      values of a request's JSON, one by one;  settings: what every request holds
    notes/      notes: request, batch, maker;  sound/: the same for sound
    ticket      one click that is waited for, and its events
    maker       what the scheduler knows of whatever can be made
    scheduler   a fair queue, batches, turns; no web and no music in it
    service     everything a page can ask for, as plain functions
    routes      the same over HTTP, notes as they are drawn;  endpoints: the same as Gradio's named API
    layout      the page, whose parts are in components
    serve       putting it together and listening on a port

`player/` draws and sounds in the browser; `page/` joins it to the controls.
"""
