// Several files in one: a zip archive whose files are kept as they are, which every system opens.

const TABLE = Uint32Array.from({ length: 256 }, (_, byte) => {
  let value = byte;
  for (let bit = 0; bit < 8; bit++) value = value & 1 ? 0xedb88320 ^ (value >>> 1) : value >>> 1;
  return value;
});

function crc32(bytes) {
  let value = ~0;
  for (const byte of bytes) value = TABLE[(value ^ byte) & 255] ^ (value >>> 8);
  return ~value >>> 0;
}

/** Numbers of two or four bytes, [value, bytes] each, the lowest byte first. */
function numbers(...values) {
  return Uint8Array.from(values.flatMap(([value, bytes]) => Array.from({ length: bytes }, (_, at) => (value >>> (8 * at)) & 255)));
}

const UTF_8 = 0x0800; // how names are written
const DATE = 0x0021; // the first of January 1980: an archive of the same takes is the same bytes

/** @param {[string, Uint8Array][]} files names and contents @returns {Blob} */
export function zip(files) {
  const parts = [];
  const listed = [];
  let at = 0;
  for (const [name, data] of files) {
    const letters = new TextEncoder().encode(name);
    const same = [[20, 2], [UTF_8, 2], [0, 2], [0, 2], [DATE, 2], [crc32(data), 4], [data.length, 4], [data.length, 4], [letters.length, 2], [0, 2]];
    const head = numbers([0x04034b50, 4], ...same);
    listed.push(numbers([0x02014b50, 4], [20, 2], ...same, [0, 2], [0, 2], [0, 2], [0, 4], [at, 4]), letters);
    parts.push(head, letters, data);
    at += head.length + letters.length + data.length;
  }
  const size = listed.reduce((sum, part) => sum + part.length, 0);
  const end = numbers([0x06054b50, 4], [0, 2], [0, 2], [files.length, 2], [files.length, 2], [size, 4], [at, 4], [0, 2]);
  return new Blob([...parts, ...listed, end], { type: "application/zip" });
}
