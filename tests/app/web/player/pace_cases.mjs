// Runs of a machine as they are given on stdin, heard as the player hears them: when playing begins, and where it stops.
//
// A run: {arrivals: [[time, seconds, drawn, left], ...], until, end, length, density?, tempo?}: what is told when; `end` is the
// time at which all of it is there, `length` the seconds of music it has then.

import { Countdown, FEW, Pace } from "../../../../app/web/player/pace.js";

const TICK = 0.05; // seconds between two looks

function heard({ arrivals, until, end, length, density = 40, known = 0, anyway = false, tempo = 1 }) {
  const pace = new Pace({ known, until, density });
  const countdown = new Countdown();
  const out = { begun: null, stops: [], warned: [], counted: [], promised: null, ending: null };
  let [at, playing, next, stopped, warned] = [0, false, 0, null, null];
  for (let now = 0; now < 3600 && at < length; now += TICK) {
    for (; next < arrivals.length && arrivals[next][0] <= now; next++) {
      const [time, seconds, drawn, left] = arrivals[next];
      pace.arrived(time, { seconds, drawn, left });
    }
    if (pace.ending) out.ending ??= now;
    const edge = now >= end ? length : pace.certain;
    if (playing) {
      at = Math.min(at + TICK * tempo, edge);
      if (now >= end || !pace.stop(now, at, tempo)) warned = null;
      else warned ??= now;
      if (at < edge || edge === length) continue;
      playing = false;
      stopped = now;
      out.warned.push(warned === null ? 0 : now - warned);
      pace.ranDry();
      countdown.clear();
      continue;
    }
    const wait = now >= end ? 0 : pace.wait(now, at, tempo);
    const ready = wait <= 0 || (anyway && out.begun === null && pace.certain > at + 0.5 && pace.speed(now) !== null);
    if (!ready) {
      const shown = countdown.show(now, now >= end ? 0 : pace.expected(now, at, tempo));
      if (shown >= FEW && out.begun === null) out.counted.push([now, shown]);
      continue;
    }
    if (stopped !== null) out.stops.push([at, now - stopped]);
    if (out.begun === null) out.promised = pace.stop(now, at, tempo);
    out.begun ??= now;
    playing = true;
  }
  return out;
}

let text = "";
for await (const part of process.stdin) text += part;
process.stdout.write(JSON.stringify(JSON.parse(text).map(heard)));
