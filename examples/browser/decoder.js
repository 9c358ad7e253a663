// A worker that decodes. It gets {kind: "load"}. For each speech it gets {kind: "begin", job}, then for each sentence
// {kind: "codes", codes} and {kind: "end"}, and {kind: "done"} after the last. It answers {kind: "ready", config},
// {kind: "samples", samples, seconds, job}, {kind: "ended", job}, {kind: "done", job}, or {kind: "error", message, job}.
// A worker goes on while its tab is hidden.

import { Stream } from "./stream.js";

const CODEC = new URL("codec/", import.meta.url);
const RUNTIME = new URL("onnxruntime/", import.meta.url);
let ort, session, config, stream, job;

async function load() {
  const answer = await fetch(new URL("config.json", CODEC));
  if (!answer.ok) throw new Error("there is no codec here; run: neucodec-tts export CODEC -o codec --fp16");
  config = await answer.json();
  if (!("memory_size" in config)) throw new Error("codec/ was not written by neucodec-tts export; write it again");
  try {
    ort = await import(new URL("ort.wasm.bundle.min.mjs", RUNTIME));
  } catch {
    throw new Error("ONNX Runtime is missing; run: python fetch_onnxruntime.py");
  }
  ort.env.wasm.wasmPaths = { wasm: new URL("ort-wasm-simd-threaded.wasm", RUNTIME).href };
  ort.env.wasm.numThreads = 1; // more need headers that a plain server does not send
  session = await ort.InferenceSession.create(new URL("streaming_decoder.onnx", CODEC).href, {
    executionProviders: ["wasm"],
  });
  const framesPerSecond = config.input_sampling_rate / config.downsampling_ratios.reduce((a, b) => a * b);
  stream = null;
  return {
    codecId: config.codec_id,
    codebookSize: config.quantization_levels.reduce((a, b) => a * b),
    sampleRate: config.output_sampling_rate,
    framesPerSecond,
    hop: config.output_sampling_rate / framesPerSecond,
  };
}

async function decodeWhatIsThere() {
  let window;
  while ((window = stream.nextWindow()) !== null) {
    const begun = performance.now();
    const { lookback } = stream.settings;
    const memory = stream.memory ?? new Float32Array(config.memory_size + lookback * config.memory_per_frame);
    const results = await session.run({
      codes: new ort.Tensor("int32", window.codes, [1, 1, window.codes.length]),
      memory: new ort.Tensor("float32", memory, [1, memory.length]),
      settled: new ort.Tensor("int32", [window.settled], [1]),
      before: new ort.Tensor("int32", [window.start], [1]),
    });
    stream.memory = results.next_memory.data;
    const samples = stream.play(window, results.audio.data);
    const seconds = (performance.now() - begun) / 1000;
    postMessage({ kind: "samples", samples, seconds, job }, [samples.buffer]);
  }
}

async function handle(message) {
  if (message.kind === "load") {
    settings = await load();
    postMessage({ kind: "ready", config: settings });
  } else if (message.kind === "begin") {
    stream = null; // of a speech that failed
    job = message.job;
  } else if (message.kind === "codes") {
    stream ??= new Stream(settings.hop);
    stream.push(message.codes);
    await decodeWhatIsThere();
  } else if (message.kind === "end") {
    stream?.finish();
    if (stream) await decodeWhatIsThere();
    stream = null;
    postMessage({ kind: "ended", job });
  } else {
    postMessage({ kind: "done", job });
  }
}

let settings;
let last = Promise.resolve(); // one message after the other
onmessage = ({ data }) => {
  last = last
    .then(() => handle(data))
    .catch((error) => {
      stream = null;
      postMessage({ kind: "error", message: error.message, job });
    });
};
