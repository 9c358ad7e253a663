// The cards of the voices.

const element = (kind, values = {}, ...inside) => {
  const made = Object.assign(document.createElement(kind), values);
  made.append(...inside);
  return made;
};

export class Voices {
  /**
   * @param list - the list of cards
   * @param find - the field that filters them; shown where there are many
   * @param ask - fetches from the server
   * @param tell - shows an error
   */
  constructor(list, find, ask, tell) {
    this.list = list;
    this.find = find;
    this.ask = ask;
    this.tell = tell;
    this.audio = new Audio();
    this.playing = null; // the button of the sample that plays
    this.samples = new Map(); // addresses of sounds
    find.addEventListener("input", () => this.#filter());
    this.audio.addEventListener("ended", () => this.#silence());
  }

  /** Fetch the list again; `chosen` is chosen then. */
  async load(chosen = this.list.querySelector(":checked")?.value) {
    const body = await (await this.ask("v1/audio/voices")).json();
    const voices = body.uploaded_voices;
    const wanted = voices.some(({ name }) => name === chosen) ? chosen : body.default_voice ?? "";
    if (!body.default_voice) voices.unshift({ name: "" });
    this.list.replaceChildren(...voices.map((voice, index) => this.#card(voice, index, voice.name === wanted)));
    this.find.hidden = voices.length <= 12;
    this.#filter();
  }

  #card(voice, index, checked) {
    const id = `voice-${index}`;
    const about = voice.name
      ? [voice.language, `${voice.duration_seconds.toFixed(1)} s`].filter(Boolean).join(", ")
      : "what it draws without a voice";
    const card = element("li", {},
      element("input", { type: "radio", name: "voice", id, value: voice.name, checked }),
      element("label", { htmlFor: id },
        element("strong", { textContent: voice.name || "The model's own" }), element("small", { textContent: about })));
    if (!voice.name) return card;
    const sample = element("button", { type: "button", className: "plain", textContent: "▶" });
    sample.ariaLabel = `Play a sample of ${voice.name}`;
    sample.addEventListener("click", () => this.#sample(voice, sample).catch(error => { this.#silence(); this.tell(error); }));
    card.append(sample);
    if (voice.created_at) { // the server keeps it; it does not come with the model
      const remove = element("button", { type: "button", className: "plain", textContent: "✕" });
      remove.ariaLabel = `Delete the voice ${voice.name}`;
      remove.addEventListener("click", () => this.#remove(voice.name).catch(this.tell));
      card.append(remove);
    }
    return card;
  }

  async #sample(voice, button) {
    const again = this.playing === button;
    this.#silence();
    if (again) return;
    this.playing = button;
    button.textContent = "■";
    const key = `${voice.name} ${voice.created_at}`;
    if (!this.samples.has(key)) {
      button.ariaBusy = "true";
      const answer = await this.ask(`v1/audio/voices/${encodeURIComponent(voice.name)}/sample`);
      this.samples.set(key, URL.createObjectURL(await answer.blob()));
      button.ariaBusy = "false";
    }
    if (this.playing !== button) return; // another was asked for meanwhile
    this.audio.src = this.samples.get(key);
    await this.audio.play();
  }

  #silence() {
    this.audio.pause();
    if (this.playing) {
      this.playing.textContent = "▶";
      this.playing.ariaBusy = "false";
    }
    this.playing = null;
  }

  async #remove(name) {
    if (!confirm(`Delete the voice ${name} from this server?`)) return;
    await this.ask(`v1/audio/voices/${encodeURIComponent(name)}`, { method: "DELETE" });
    await this.load();
    this.list.querySelector(":checked")?.focus();
  }

  #filter() {
    const wanted = this.find.hidden ? "" : this.find.value.toLowerCase();
    for (const card of this.list.children) {
      card.hidden = !card.querySelector("strong").textContent.toLowerCase().includes(wanted);
    }
  }
}
