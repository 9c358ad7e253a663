// Make a voice: from the microphone or a file, judged by the server before it is kept.
import { Trouble, wav } from "./speaking.js";

const LONGEST = 15; // seconds; the recording ends by itself then
const QUIET = -33; // dB of full scale, as in neucodec_tts/voices/recording.py
const SILENT = -50;
const LOUD = 0.99; // of full scale
const MICROPHONE = {
  NotAllowedError: "The browser may not use the microphone. Allow it beside the address, or choose a file.",
  NotFoundError: "There is no microphone. Plug one in, or choose a file.",
  NotReadableError: "The microphone is used by another program. Close that, or choose a file.",
};

export class Recording {
  /**
   * @param dialog - the dialog, with all its fields
   * @param ask - fetches from the server
   * @param done - is told the name of a new voice, and advice about it
   */
  constructor(dialog, ask, done) {
    this.dialog = dialog;
    this.ask = ask;
    this.done = done;
    this.sample = null; // the recording, a Blob
    this.microphone = null;
    const on = (id, kind, act) => this.#at(id).addEventListener(kind, act);
    document.getElementById("add").addEventListener("click", () => dialog.showModal());
    on("record", "click", () => (this.microphone ? this.#stop() : this.#start().catch(error => this.#refuse(error))));
    on("sample", "change", () => { const [file] = this.#at("sample").files; if (file) this.#judge(file); });
    on("close", "click", () => dialog.close());
    on("upload", "submit", event => { event.preventDefault(); this.#keep().catch(error => this.#say(error.message, true)); });
    dialog.addEventListener("close", () => this.#release());
  }

  #at(id) { return this.dialog.querySelector(`#${id}`); }

  #say(text, bad = false) {
    this.#at("found").textContent = text;
    this.#at("found").className = bad ? "error" : "";
  }

  #refuse(error) {
    this.#release();
    this.#say(MICROPHONE[error.name] ?? error.message, true);
  }

  async #start() {
    if (!navigator.mediaDevices) {
      throw new Trouble("The browser gives its microphone only to pages by https or on this machine; choose a file.");
    }
    this.#say("");
    this.#at("advice").replaceChildren();
    const wishes = { echoCancellation: false, noiseSuppression: false, autoGainControl: false };
    const stream = await navigator.mediaDevices.getUserMedia({ audio: wishes });
    if (!this.dialog.open || this.microphone) { // it was closed, or pressed twice, while the browser asked
      stream.getTracks().forEach(track => track.stop());
      return;
    }
    const context = new AudioContext();
    this.microphone = { stream, context, parts: [], length: 0 };
    await context.audioWorklet.addModule("speech/capture.js");
    const capture = new AudioWorkletNode(context, "capture", { channelCount: 1, channelCountMode: "explicit" });
    capture.port.onmessage = ({ data }) => this.#hear(data);
    context.createMediaStreamSource(stream).connect(capture);
    stream.getAudioTracks()[0].addEventListener("ended", () => this.#stop()); // it was unplugged
    this.#at("live").hidden = false;
    this.#at("record").textContent = "Stop recording";
  }

  /** Take a tenth of a second, and say how loud it is. */
  #hear(samples) {
    const { microphone } = this;
    if (!microphone) return;
    microphone.parts.push(samples);
    microphone.length += samples.length / microphone.context.sampleRate;
    let power = 0, peak = 0;
    for (const value of samples) {
      power += value * value;
      peak = Math.max(peak, Math.abs(value));
    }
    const level = 10 * Math.log10(Math.max(power / samples.length, 1e-12));
    microphone.recent = [...(microphone.recent ?? []), { level, peak }].slice(-15);
    const loudest = Math.max(...microphone.recent.map(one => one.level));
    const highest = Math.max(...microphone.recent.map(one => one.peak));
    const verdict = highest >= LOUD ? "Too loud: move away, or turn the gain down."
      : loudest < SILENT ? "Nothing is heard."
      : loudest < QUIET ? "Quiet: come closer."
      : "A good level.";
    this.#at("level").value = Math.max(-60, level);
    this.#at("clock").textContent = `${microphone.length.toFixed(1)} s`;
    if (this.#at("verdict").textContent !== verdict) this.#at("verdict").textContent = verdict;
    if (microphone.length >= LONGEST) this.#stop();
  }

  #stop() {
    if (!this.microphone) return;
    const { parts, context } = this.microphone;
    const rate = context.sampleRate;
    this.#release();
    this.#judge(wav(parts, rate));
  }

  #release() {
    this.microphone?.stream.getTracks().forEach(track => track.stop());
    this.microphone?.context.close();
    this.microphone = null;
    this.#at("live").hidden = true;
    this.#at("record").textContent = "Record";
  }

  /** Let the server judge a recording. */
  async #judge(blob) {
    this.judged = blob;
    this.sample = null;
    this.#at("keep-voice").disabled = true;
    this.#at("advice").replaceChildren();
    const listen = this.#at("listen");
    URL.revokeObjectURL(listen.src);
    listen.src = URL.createObjectURL(blob);
    listen.hidden = false;
    this.#say("Checking the recording …");
    try {
      const found = await (await this.ask("v1/audio/voices/check", { method: "POST", body: blob })).json();
      if (this.judged !== blob) return; // there is another by now
      this.sample = blob;
      this.#at("keep-voice").disabled = false;
      this.#say(found.advice.length ? `${found.seconds} s of speech. It could be better:` : `${found.seconds} s of speech: a good recording.`);
      this.#at("advice").replaceChildren(...found.advice.map(({ message }) =>
        Object.assign(document.createElement("li"), { textContent: message })));
    } catch (error) {
      if (this.judged === blob) this.#say(error.message, true);
    }
  }

  async #keep() {
    const name = this.#at("name"), said = this.#at("said"), consent = this.#at("consent");
    for (const field of [name, said]) field.setAttribute("aria-invalid", !field.value.trim());
    const missing = !said.value.trim() ? [said, "Write what is said in the recording."]
      : !name.value.trim() ? [name, "The voice needs a name."]
      : !consent.checked ? [consent, "A voice may be kept only if it is yours or you may use it."]
      : null;
    if (missing) {
      missing[0].focus();
      throw new Trouble(missing[1]);
    }
    const form = new FormData();
    form.set("audio_sample", this.sample, "recording");
    form.set("ref_text", said.value);
    form.set("name", name.value.trim());
    form.set("consent", "given on the page");
    this.#say("Saving the voice …");
    const { voice } = await (await this.ask("v1/audio/voices", { method: "POST", body: form })).json();
    this.#say("");
    this.dialog.close();
    await this.done(voice.name, voice.advice ?? []);
  }
}
