// Codes from a file, and codes from a server while they are generated.

const TYPES = { "<u2": Uint16Array, "<i4": Int32Array, "<u4": Uint32Array, "|u1": Uint8Array };

/** The codes of a .safetensors or .npy file that `neucodec-tts encode` wrote; `codecId` is the decoder's. */
export async function readFile(file, codecId) {
  const buffer = await file.arrayBuffer();
  try {
    return file.name.toLowerCase().endsWith(".npy") ? readNpy(buffer) : readSafetensors(buffer, codecId);
  } catch (error) {
    throw new Error(`${file.name}: ${error instanceof RangeError || error instanceof SyntaxError ? "this is no file of codes, or it is damaged" : error.message}`);
  }
}

function readSafetensors(buffer, codecId) {
  const length = Number(new DataView(buffer).getBigUint64(0, true));
  const header = JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, 8, length)));
  const metadata = header.__metadata__ ?? {};
  if (metadata.format !== "neucodec-codes" || header.codes?.dtype !== "U16") throw new Error("this is no file of codes");
  if (metadata.codec_id !== codecId) {
    throw new Error(`its codes are of the codec ${metadata.codec_id}, and this page decodes those of ${codecId}`);
  }
  const [begin, end] = header.codes.data_offsets;
  return new Uint16Array(buffer.slice(8 + length + begin, 8 + length + end));
}

function readNpy(buffer) {
  const view = new DataView(buffer);
  if (view.getUint32(0) !== 0x934e554d) throw new Error("this is no .npy file");
  const long = view.getUint8(6) > 1;
  const start = long ? 12 : 10;
  const length = long ? view.getUint32(8, true) : view.getUint16(8, true);
  const header = new TextDecoder().decode(new Uint8Array(buffer, start, length));
  const type = /'descr': *'([^']*)'/.exec(header)?.[1];
  if (!(type in TYPES) || !/'shape': *\(\d+,\)/.test(header)) throw new Error("codes are integers (frames,)");
  return new TYPES[type](buffer.slice(start + length));
}

/**
 * Speech of a server of neucodec-tts as codes: calls onCodes(codes, sentence) as they come.
 *
 * The server's events hold 16 bits a code, little-endian.
 */
export async function speak(server, { key, codecId, onCodes, ...request }) {
  const headers = { "Content-Type": "application/json" };
  if (key) headers.Authorization = `Bearer ${key}`;
  const answer = await fetch(new URL("v1/audio/speech", server.endsWith("/") ? server : `${server}/`), {
    method: "POST",
    headers,
    body: JSON.stringify({ ...request, response_format: "codes", stream_format: "sse" }),
  });
  if (!answer.ok) {
    const problem = await answer.json().catch(() => ({}));
    throw new Error(problem.error?.message ?? `the server answers ${answer.status}`);
  }
  let ended = false;
  for await (const event of events(answer.body)) {
    if (event.type === "speech.audio.start" && event.codec !== codecId) {
      throw new Error(`the server speaks codes of the codec ${event.codec}, and this page decodes those of ${codecId}`);
    } else if (event.type === "speech.audio.delta") {
      const bytes = Uint8Array.from(atob(event.audio), (letter) => letter.charCodeAt(0));
      const view = new DataView(bytes.buffer);
      const codes = Uint16Array.from({ length: bytes.length / 2 }, (_, i) => view.getUint16(2 * i, true));
      onCodes(codes, event.sentence_index);
    } else if (event.type === "speech.audio.error") {
      throw new Error(event.error?.message ?? "the server failed");
    } else if (event.type === "speech.audio.done") {
      ended = true;
    }
  }
  if (!ended) throw new Error("the server's answer ended too early");
}

async function* events(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  for (;;) {
    const { done, value } = await reader.read();
    text += value ?? "";
    const blocks = text.replaceAll("\r\n", "\n").split("\n\n");
    text = done ? "" : blocks.pop();
    for (const block of blocks) {
      const data = block.split("\n").filter((line) => line.startsWith("data:")).map((line) => line.slice(5).trim());
      if (data.length && data[0] !== "[DONE]") yield JSON.parse(data.join("\n"));
    }
    if (done) return;
  }
}
