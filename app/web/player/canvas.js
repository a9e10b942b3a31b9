// What the roll is drawn with: boxes and short texts on a canvas.

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
