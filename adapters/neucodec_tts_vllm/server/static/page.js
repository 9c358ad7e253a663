// The page: its form, its figures and its messages.
import { Picture } from "./picture.js";
import { Player, request, speech, Trouble, wav } from "./speaking.js";
import { Voices } from "./voices.js";
import { Recording } from "./recording.js";

const $ = id => document.getElementById(id);
const picture = new Picture($("picture"));
let sound = { parts: [], rate: 24000, name: "speech" };
let stopping = null; // of the speech that comes just now
let player = null;

function say(text, bad = false) {
  $("status").textContent = text;
  $("status").className = bad ? "error" : "";
}

/** Show what went wrong, and lead to where it can be mended. */
function tell(error) {
  say(error.message, true);
  if (error.status === 401) {
    $("key-box").open = true;
    $("key").focus();
  }
}

const ask = (path, options = {}) =>
  request(path, { ...options, headers: { ...options.headers, ...($("key").value && { Authorization: `Bearer ${$("key").value}` }) } });

const voices = new Voices($("cards"), $("find"), ask, tell);
new Recording($("recording"), ask, async (name, advice) => {
  await voices.load(name);
  say([`The voice ${name} is there.`, ...advice].join(" "));
});

async function load() {
  await voices.load();
  const { models } = await (await ask("v1/audio/models")).json();
  $("model").textContent = models.length === 1 ? models[0].id : "";
  $("models").hidden = models.length < 2;
  $("models").querySelector("select").replaceChildren(...models.map(({ id }) => new Option(id)));
}

/** The fields of the form that are filled in, as the server takes them. */
function asked() {
  const body = { input: $("text").value, response_format: "pcm", stream_format: "sse", with_codes: true };
  for (const [name, value] of new FormData($("speak"))) {
    const field = $("speak").elements[name];
    if (value) body[name] = field.type === "number" ? Number(value) : value;
  }
  return body;
}

function refused() {
  const wrong = [...$("speak").elements].find(field => field.validity && !field.validity.valid);
  const empty = !$("text").value.trim();
  $("text").setAttribute("aria-invalid", empty);
  if (empty) say("There is nothing to speak: write a text.", true);
  else if (wrong) say(`${wrong.labels[0].textContent.trim()}: ${wrong.validationMessage}`, true);
  if (wrong) wrong.closest("details").open = true;
  (empty ? $("text") : wrong)?.focus();
  return empty || wrong;
}

const seconds = () => sound.parts.reduce((sum, part) => sum + part.length, 0) / sound.rate;

function play(rate) {
  player?.close();
  player = new Player(rate, position => picture.head(position, $("head")));
}

$("speak").addEventListener("submit", async event => {
  event.preventDefault();
  if (stopping || refused()) return;
  stopping = new AbortController();
  $("go").disabled = true;
  $("stop").disabled = false;
  for (const id of ["again", "save", "keep"]) $(id).disabled = true;
  for (const id of ["first", "factor", "length", "seed"]) $(id).textContent = "–";
  const body = asked();
  const start = performance.now();
  sound = { parts: [], rate: 24000, name: `${body.voice || "speech"}.wav` };
  picture.clear();
  say("Speaking …");
  let whole = false;
  try {
    for await (const news of speech(ask, body, stopping.signal)) {
      const now = (performance.now() - start) / 1000;
      if (news.rate) {
        sound.rate = news.rate;
        $("seed").textContent = news.seed;
        play(news.rate);
        picture.clear(news.rate);
      } else if (news.codes) picture.codes(news.codes, body.speed || 1);
      else if (news.samples) {
        if (!sound.parts.length) $("first").textContent = `${Math.round(now * 1000)} ms`;
        sound.parts.push(news.samples);
        player.push(news.samples);
        picture.sound(news.samples);
        $("length").textContent = `${seconds().toFixed(1)} s`;
        $("factor").textContent = (now / seconds()).toFixed(2);
      } else whole = true;
    }
    if (!whole) throw new Trouble("The server went away in the middle of the speech.");
    const gaps = { 0: "without a gap", 1: "with a gap" }[player.gaps] ?? `with ${player.gaps} gaps`;
    say(`Spoken: ${$("length").textContent}, first sound after ${$("first").textContent}, ${gaps}.`);
  } catch (error) {
    if (error.name === "AbortError") say(`Stopped after ${seconds().toFixed(1)} s.`);
    else tell(sound.parts.length ? new Trouble(`${error.message} What came can be played and downloaded.`) : error);
  } finally {
    stopping = null;
    $("go").disabled = false;
    $("stop").disabled = true;
    for (const id of ["again", "save"]) $(id).disabled = !sound.parts.length;
    $("keep").disabled = !/^\d+$/.test($("seed").textContent);
    if (sound.parts.length) {
      $("picture").setAttribute("aria-label", `Waveform and codes of ${seconds().toFixed(1)} s of speech.`);
    }
  }
});

$("stop").addEventListener("click", () => {
  stopping?.abort();
  player?.close();
  $("go").disabled = false;
  $("go").focus();
});
$("again").addEventListener("click", () => {
  play(sound.rate);
  for (const part of sound.parts) player.push(part);
});
$("save").addEventListener("click", () => {
  const link = Object.assign(document.createElement("a"), {
    href: URL.createObjectURL(wav(sound.parts, sound.rate)), download: sound.name,
  });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60000);
});
$("keep").addEventListener("click", () => {
  const field = $("speak").elements.seed;
  field.value = $("seed").textContent;
  field.closest("details").open = true;
  field.focus();
});

const count = () => { $("count").textContent = `${$("text").value.length.toLocaleString("en")} characters. Ctrl + Enter speaks.`; };
$("text").addEventListener("input", () => { $("text").removeAttribute("aria-invalid"); count(); });
$("text").addEventListener("keydown", event => {
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) $("speak").requestSubmit();
});
$("key").addEventListener("change", () => load().then(() => say(""), tell));

const system = matchMedia("(prefers-color-scheme: dark)");
let dark;
function theme(wanted, style) {
  dark = wanted;
  document.documentElement.style.colorScheme = style;
  $("theme").textContent = dark ? "Switch to light" : "Switch to dark";
  picture.draw();
}
system.addEventListener("change", () => theme(system.matches, ""));
$("theme").addEventListener("click", () => theme(!dark, dark ? "light" : "dark"));

theme(system.matches, "");
count();
load().catch(tell);
