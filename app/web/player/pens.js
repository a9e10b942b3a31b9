// What the roll is put down with: a canvas or SVG.

const FONT = "system-ui, sans-serif";

/** Draws on a canvas that is `scale` device pixels to the pixel. */
export class CanvasPen {
  constructor(canvas, width, height, scale) {
    const wide = Math.max(1, Math.round(width * scale));
    const high = Math.max(1, Math.round(height * scale));
    if (canvas.width !== wide) canvas.width = wide;
    if (canvas.height !== high) canvas.height = high;
    this.context = canvas.getContext("2d");
    this.context.setTransform(scale, 0, 0, scale, 0, 0);
    this.context.font = `11px ${FONT}`;
    this.colour = null;
    this.opacity = null;
    this.size = [width, height];
  }

  clear() {
    this.context.clearRect(0, 0, ...this.size);
  }

  box(x, y, width, height, colour, opacity = 1, round = 0) {
    const context = this.context;
    if (this.colour !== colour) context.fillStyle = this.colour = colour;
    if (this.opacity !== opacity) context.globalAlpha = this.opacity = opacity;
    if (round && width > 5 && height > 5) {
      context.beginPath();
      context.roundRect(x, y, width, height, round);
      context.fill();
    } else context.fillRect(x, y, width, height);
  }

  text(x, y, text, colour, align) {
    const context = this.context;
    context.globalAlpha = this.opacity = 1;
    context.fillStyle = this.colour = colour;
    context.textAlign = align;
    context.fillText(text, x, y);
  }
}

const escaped = (text) => text.replace(/[<>&"]/g, (letter) => `&#${letter.charCodeAt(0)};`).replace(/[^\t\n\r -\uFFFD]/g, "");
const short = (value) => String(Math.round(value * 100) / 100);

/** Writes an SVG document. */
export class SvgPen {
  constructor(width, height, title) {
    this.lines = [
      `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${height}" viewBox="0 0 ${width} ${height}" role="img">`,
      `<title>${escaped(title)}</title>`,
    ];
  }

  box(x, y, width, height, colour, opacity = 1, round = 0) {
    if (width <= 0 || height <= 0) return;
    const faint = opacity < 1 ? ` fill-opacity="${opacity}"` : "";
    const soft = round && width > 5 && height > 5 ? ` rx="${round}"` : "";
    const where = `x="${short(x)}" y="${short(y)}" width="${short(width)}" height="${short(height)}"`;
    this.lines.push(`<rect ${where} fill="${colour}"${faint}${soft}/>`);
  }

  text(x, y, text, colour, align) {
    const anchor = align === "center" ? ' text-anchor="middle"' : "";
    this.lines.push(
      `<text x="${short(x)}" y="${short(y)}" font-family="${FONT}" font-size="11" fill="${colour}"${anchor}>${escaped(text)}</text>`,
    );
  }

  done() {
    return `${this.lines.join("\n")}\n</svg>\n`;
  }
}
