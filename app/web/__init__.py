"""`musicgen app`: the page in the browser, the server behind it and its API.

    limits    what one person may ask of a server that many share
    wish      what the page sends: JSON to a checked request
    listen    tokens to notes, as they come
    job       one batch of rows on its way through the engine
    studio    one model, a fair queue, batches; no web in it
    desk      everything a page can ask for, as plain functions
    routes    the same over HTTP, notes as they are drawn
    page      the Gradio page and the named API endpoints
    serve     putting it together and listening on a port

`player/` draws and sounds in the browser; `page/` joins it to Gradio's dials.
"""
