// Ask the server for speech, and play it while it comes.

/** An error whose message is for people. */
export class Trouble extends Error {
  constructor(message, status = 0) {
    super(message);
    this.status = status;
  }
}

/** Fetch, with errors in words. */
export async function request(path, options) {
  let answer;
  try {
    answer = await fetch(path, options);
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Trouble("The server does not answer. Is it still running?");
  }
  if (answer.ok) return answer;
  if (answer.status === 401) throw new Trouble("This server wants its API key; it goes into the field below.", 401);
  let message = `${answer.status} ${answer.statusText}`;
  try {
    const body = await answer.json();
    message = body.error.message || message;
  } catch { /* not in JSON */ }
  throw new Trouble(`The server refuses: ${message}.`, answer.status);
}

const bytes = text => Uint8Array.from(atob(text), letter => letter.charCodeAt(0));

/**
 * Speak a text. Yields {rate, seed} first, then {codes: Uint16Array} and {samples: Float32Array} as they come, and {}
 * at the end. Without that end the speech is not whole.
 */
export async function* speech(ask, body, signal) {
  const answer = await ask("v1/audio/speech", {
    method: "POST", signal, body: JSON.stringify(body), headers: { "Content-Type": "application/json" },
  });
  yield { rate: Number(answer.headers.get("X-Sample-Rate")) || 24000, seed: answer.headers.get("X-Seed") };
  for await (const event of events(answer.body)) {
    if (event.type === "speech.audio.error") throw new Trouble(`The server gave up: ${event.error.message}.`);
    if (event.type === "speech.audio.done") yield {};
    if (event.type === "speech.audio.delta") {
      if (event.codes) yield { codes: new Uint16Array(bytes(event.codes).buffer) };
      yield { samples: Float32Array.from(new Int16Array(bytes(event.audio).buffer), value => value / 32768) };
    }
  }
}

/** The server-sent events of an answer. */
async function* events(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    let read;
    try {
      read = await reader.read();
    } catch (error) {
      if (error.name === "AbortError") throw error;
      throw new Trouble("The server went away in the middle of the speech.");
    }
    if (read.done) return;
    const parts = (rest + read.value).split("\n\n");
    rest = parts.pop();
    for (const part of parts) {
      const data = part.split("\n").find(line => line.startsWith("data: "));
      if (data) yield JSON.parse(data.slice(6));
    }
  }
}

/** Plays samples one after the other; tells `moved` the position in seconds, and null at the end. */
export class Player {
  constructor(rate, moved) {
    this.rate = rate;
    this.moved = moved;
    this.context = new AudioContext();
    this.length = 0; // seconds that have been pushed
    this.begin = 0; // when the first sample plays, by the context's clock
    this.gaps = 0;
  }

  push(samples) {
    const buffer = this.context.createBuffer(1, samples.length, this.rate);
    buffer.copyToChannel(samples, 0);
    const source = new AudioBufferSourceNode(this.context, { buffer });
    source.connect(this.context.destination);
    const now = this.context.currentTime;
    if (this.begin + this.length < now || !this.length) {
      if (this.length) this.gaps++;
      this.begin = now + 0.02 - this.length;
    }
    source.start(this.begin + this.length);
    this.length += samples.length / this.rate;
    if (!this.moving) this.#move();
  }

  close() {
    this.moved(null);
    if (this.context.state !== "closed") this.context.close();
  }

  #move() {
    if (this.context.state === "closed") return;
    const position = this.context.currentTime - this.begin;
    this.moving = position < this.length;
    this.moved(this.moving ? Math.max(position, 0) : null);
    if (this.moving) requestAnimationFrame(() => this.#move());
  }
}

/** A WAV file, 16 bits, of samples (Float32Array) in pieces. */
export function wav(parts, rate) {
  const count = parts.reduce((sum, part) => sum + part.length, 0);
  const view = new DataView(new ArrayBuffer(44 + 2 * count));
  const letters = (at, text) => [...text].forEach((letter, i) => view.setUint8(at + i, letter.charCodeAt(0)));
  letters(0, "RIFF"); view.setUint32(4, 36 + 2 * count, true); letters(8, "WAVEfmt ");
  view.setUint32(16, 16, true); view.setUint16(20, 1, true); view.setUint16(22, 1, true);
  view.setUint32(24, rate, true); view.setUint32(28, 2 * rate, true);
  view.setUint16(32, 2, true); view.setUint16(34, 16, true); letters(36, "data"); view.setUint32(40, 2 * count, true);
  let at = 44;
  for (const part of parts) {
    for (const value of part) {
      view.setInt16(at, Math.max(-32768, Math.min(32767, Math.round(value * 32768))), true);
      at += 2;
    }
  }
  return new Blob([view], { type: "audio/wav" });
}
