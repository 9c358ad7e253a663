// The page: takes codes, has them decoded by a worker, and plays the samples without gaps.

import { readFile, speak } from "./codes.js";

const PAUSE_SECONDS = 0.35; // between sentences, as the server's own
const LEAD_SECONDS = 0.05; // of the first samples before they are heard
const SIMD = [0, 97, 115, 109, 1, 0, 0, 0, 1, 5, 1, 96, 0, 1, 123, 3, 2, 1, 0, 10, 10, 1, 8, 0, 65, 0, 253, 15, 253, 98, 11];
const byId = (id) => document.getElementById(id);
let worker, config, context, job;
let jobs = 0; // that have begun

function say(text) {
  byId("status").textContent = text;
}

function fail(error) {
  job = null;
  say(`error: ${error.message}`);
  for (const button of document.querySelectorAll("button, #file")) button.disabled = !config;
}

/** One speech that is being decoded and played. */
class Job {
  constructor() {
    this.number = ++jobs;
    worker.postMessage({ kind: "begin", job: this.number });
    this.begun = performance.now();
    this.parts = [];
    this.samples = 0;
    this.work = 0;
    this.firstSound = null;
    this.dry = 0; // times that the sound was late
    this.sentence = null;
    this.time = 0; // of the context, when the next samples are due
    context ??= new AudioContext({ sampleRate: config.sampleRate });
    context.resume();
    for (const button of document.querySelectorAll("button, #file")) button.disabled = true;
    byId("save").hidden = true;
    say("decoding");
  }

  take(codes, sentence) {
    if (job !== this) throw new Error("stopped");
    const beyond = codes.find((code) => code >= config.codebookSize);
    if (beyond !== undefined) throw new Error(`${beyond} is no code of this codec, which has ${config.codebookSize}`);
    if (this.sentence !== null && sentence !== this.sentence) worker.postMessage({ kind: "end" });
    this.sentence = sentence;
    worker.postMessage({ kind: "codes", codes });
  }

  finish() {
    worker.postMessage({ kind: "end" });
    worker.postMessage({ kind: "done" });
  }

  pause() {
    this.pausing = true;
  }

  play(samples, seconds) {
    this.work += seconds;
    if (this.pausing) {
      this.pausing = false;
      this.#schedule(new Float32Array(Math.round(PAUSE_SECONDS * config.sampleRate)));
    }
    this.#schedule(samples);
    this.firstSound ??= (performance.now() - this.begun) / 1000;
  }

  #schedule(samples) {
    if (this.time < context.currentTime) {
      if (this.samples) this.dry += 1;
      this.time = context.currentTime + LEAD_SECONDS;
    }
    const buffer = context.createBuffer(1, samples.length, config.sampleRate);
    buffer.copyToChannel(samples, 0);
    const source = new AudioBufferSourceNode(context, { buffer });
    source.connect(context.destination);
    source.start(this.time);
    this.time += samples.length / config.sampleRate;
    this.samples += samples.length;
    this.parts.push(samples);
  }

  end() {
    const seconds = this.samples / config.sampleRate;
    const dry = this.dry ? `, the sound was late ${this.dry} times` : "";
    say(
      `done: ${seconds.toFixed(2)} s of speech, first sound after ${this.firstSound.toFixed(2)} s, ` +
        `real-time factor ${(this.work / seconds).toFixed(3)}${dry}`,
    );
    URL.revokeObjectURL(byId("save").href);
    byId("save").href = URL.createObjectURL(wav(this.parts, this.samples, config.sampleRate));
    byId("save").hidden = false;
    for (const button of document.querySelectorAll("button, #file")) button.disabled = false;
    job = null;
  }
}

/** A WAV file of float32 samples. */
function wav(parts, samples, rate) {
  const header = new DataView(new ArrayBuffer(44));
  const text = (offset, letters) => [...letters].forEach((letter, i) => header.setUint8(offset + i, letter.charCodeAt(0)));
  text(0, "RIFF");
  header.setUint32(4, 36 + 4 * samples, true);
  text(8, "WAVEfmt ");
  [16, 3 + (1 << 16), rate, 4 * rate, 4 + (32 << 16)].forEach((value, i) => header.setUint32(16 + 4 * i, value, true));
  text(36, "data");
  header.setUint32(40, 4 * samples, true);
  return new Blob([header, ...parts], { type: "audio/wav" });
}

function onMessage({ data }) {
  if (data.kind === "ready") {
    config = data.config;
    for (const button of document.querySelectorAll("button, #file")) button.disabled = false;
    say(`ready: decodes codes of ${config.codecId}`);
  } else if (data.job !== job?.number) {
    return; // of a speech that failed
  } else if (data.kind === "error") {
    fail(new Error(data.message));
  } else if (data.kind === "samples") {
    job.play(data.samples, data.seconds);
  } else if (data.kind === "ended") {
    job.pause();
  } else if (data.kind === "done") {
    if (job.samples) job.end();
    else fail(new Error("there are no codes"));
  }
}

byId("file").addEventListener("change", async () => {
  const [file] = byId("file").files;
  if (!file) return;
  job = new Job();
  try {
    job.take(await readFile(file, config.codecId), 0);
    job.finish();
  } catch (error) {
    fail(error);
  }
  byId("file").value = "";
});

byId("form").addEventListener("submit", async (event) => {
  event.preventDefault();
  const mine = (job = new Job());
  const form = new FormData(byId("form"));
  const request = { input: form.get("text") };
  if (form.get("voice")) request.voice = form.get("voice");
  try {
    await speak(form.get("server"), {
      ...request,
      key: form.get("key"),
      codecId: config.codecId,
      onCodes: (codes, sentence) => mine.take(codes, sentence),
    });
    mine.finish();
  } catch (error) {
    fail(error instanceof TypeError ? new Error(`${form.get("server")} cannot be reached`) : error);
  }
});

// Decoding goes on in a hidden tab. Some browsers stop its sound, and start it only when asked.
document.addEventListener("visibilitychange", () => {
  if (document.visibilityState === "visible") context?.resume();
});

if (typeof WebAssembly === "object" && WebAssembly.validate(Uint8Array.from(SIMD))) {
  worker = new Worker(new URL("decoder.js", import.meta.url), { type: "module" });
  worker.onmessage = onMessage;
  worker.onerror = () => fail(new Error("the decoder's worker does not start; is every file of the page there?"));
  worker.postMessage({ kind: "load" });
} else {
  fail(new Error("this browser has no WebAssembly SIMD; use Chrome 91, Firefox 89, Safari 16.4 or a later one"));
}
