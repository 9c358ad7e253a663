// Draw sound and codes while they come.

const BIN = 0.01; // seconds of a peak
const FRAMES = 50; // codes a second
const SHORTEST = 3; // seconds that the picture shows at least

export class Picture {
  constructor(canvas) {
    this.canvas = canvas;
    this.clear();
    new ResizeObserver(() => this.draw()).observe(canvas);
  }

  clear(rate = 24000) {
    this.bin = Math.round(BIN * rate);
    this.peaks = [];
    this.filled = 0; // samples in the last peak
    this.columns = []; // codes
    this.digits = 1; // of the largest
    this.frame = 1 / FRAMES;
    this.draw();
  }

  sound(samples) {
    for (const value of samples) {
      if (this.filled === 0) this.peaks.push(0);
      const last = this.peaks.length - 1;
      this.peaks[last] = Math.max(this.peaks[last], Math.abs(value));
      this.filled = (this.filled + 1) % this.bin;
    }
    this.draw();
  }

  codes(codes, speed) {
    this.frame = 1 / FRAMES / speed;
    for (const code of codes) {
      this.columns.push(code);
      while (code >= 4 ** this.digits) this.digits++;
    }
    this.draw();
  }

  /** Put the line that moves with the sound at a position in seconds; null hides it. */
  head(position, line) {
    line.hidden = position === null;
    if (position !== null) line.style.left = `${(100 * position) / this.span}%`;
  }

  get span() {
    return Math.max(SHORTEST, this.peaks.length * BIN, this.columns.length * this.frame);
  }

  /** Draw all of it at the next occasion. A hidden page draws when it is shown again. */
  draw() {
    this.waiting ??= requestAnimationFrame(() => {
      this.waiting = null;
      this.#paint();
    });
  }

  #paint() {
    const { canvas } = this;
    const scale = devicePixelRatio || 1;
    const width = canvas.width = Math.round(canvas.clientWidth * scale);
    const height = canvas.height = Math.round(canvas.clientHeight * scale);
    const pen = canvas.getContext("2d");
    const style = getComputedStyle(canvas);
    const middle = 0.32 * height;
    const x = seconds => Math.floor((seconds / this.span) * width);

    pen.fillStyle = style.color;
    pen.globalAlpha = 0.35;
    pen.fillRect(0, middle, width, 1);
    pen.globalAlpha = 1;
    for (let column = 0, index = 0; column < width && index < this.peaks.length; column++) {
      let peak = 0;
      do peak = Math.max(peak, this.peaks[index++]);
      while (index < this.peaks.length && x(index * BIN) <= column);
      const size = Math.max(1, peak * 0.6 * height);
      const next = index < this.peaks.length ? x(index * BIN) : column + 1;
      pen.fillRect(column, middle - size / 2, Math.max(1, next - column), size);
      column = Math.max(column, next - 1);
    }

    // A code is digits of four levels, as NeuCodec quantises them: eight, of 16 bits.
    pen.fillStyle = style.borderTopColor;
    const top = 0.68 * height;
    const row = (height - top) / this.digits;
    let painted = -1;
    this.columns.forEach((code, index) => {
      const left = x(index * this.frame);
      if (left === painted) return;
      painted = left;
      const right = Math.max(left + 1, x((index + 1) * this.frame));
      for (let digit = 0; digit < this.digits; digit++) {
        pen.globalAlpha = 0.08 + 0.3 * ((code >> (2 * digit)) & 3);
        pen.fillRect(left, top + digit * row, right - left, row);
      }
    });
    pen.globalAlpha = 1;
  }
}
