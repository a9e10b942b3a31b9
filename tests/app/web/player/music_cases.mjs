// What music objects on stdin sound like on the page: for each, [onset, end, pitch] of its notes.

import { Music } from "../../../../app/web/player/music.js";

let text = "";
for await (const part of process.stdin) text += part;
const heard = JSON.parse(text).map((plain) => {
  const music = new Music(plain);
  return music.notes.map(([onset, , pitch], index) => [onset, music.soundingEnd(index), pitch]);
});
process.stdout.write(JSON.stringify(heard));
