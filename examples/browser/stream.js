// The windows of a stream of codes, and its cross-fades: neucodec_tts/codec/streaming.py in JavaScript.

const SETTINGS = { lookback: 50, chunk: 50, lookahead: 5, overlap: 1, firstChunk: 5, growth: 1.25, slack: 0.4 };

export class Stream {
  /** hop: samples that one code becomes. */
  constructor(hop, settings = SETTINGS) {
    this.settings = settings;
    this.hop = hop;
    this.codes = []; // from frame this.asked on
    this.asked = 0; // frames up to which windows have been handed out
    this.memory = null; // the decoder's, after the last window
    this.tail = new Float32Array(0); // samples that the last window foresaw
    this.finished = false;
  }

  push(codes) {
    for (const code of codes) this.codes.push(code);
  }

  /** No more codes will come. */
  finish() {
    this.finished = true;
  }

  /** The next window whose codes are all there, {codes, start, settled}, or null. */
  nextWindow() {
    const start = this.asked;
    const known = start + this.codes.length;
    let stop = this.#chunkEnd(start);
    let end = stop + this.settings.lookahead;
    if (end > known) {
      if (!this.finished || start === known) return null;
      stop = end = known;
    }
    const codes = Int32Array.from(this.codes.slice(0, end - start));
    this.codes.splice(0, stop - start);
    this.asked = stop;
    return { codes, start, settled: stop - start };
  }

  /** The samples to play of a decoded window, Float32Array. */
  play(window, audio) {
    const settled = window.settled * this.hop;
    const samples = audio.slice(0, settled);
    const fade = Math.min(this.tail.length, samples.length);
    for (let i = 0; i < fade; i++) {
      samples[i] = this.tail[i] + (samples[i] - this.tail[i]) * ((i + 0.5) / this.tail.length);
    }
    this.tail = audio.slice(settled, settled + this.settings.overlap * this.hop);
    return samples;
  }

  #chunkEnd(start) {
    const { firstChunk, growth, slack, overlap, chunk } = this.settings;
    if (start === 0) return firstChunk;
    const frames = Math.trunc(firstChunk * (1 - growth * slack) + (growth - 1) * start);
    return start + Math.max(1, overlap, Math.min(chunk, frames));
  }
}
