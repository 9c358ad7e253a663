"""The texts that are read: examples of use from WordNet, sentences of Debian's fortunes, and phrases of our own.

Every list has an order that depends on nothing but the texts themselves, so that a corpus can be made longer later.
"""

from __future__ import annotations

import hashlib
import random
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

LONGEST = 120  # letters: about 8 s
FORTUNES = ("fortunes", "fortunes-min")  # Debian packages
TEST, REFERENCES = 50, 12  # texts that no training hears
SHORT_SHARE, PAIRED_SHARE = 0.12, 0.3  # of phrases of our own; of sentences that are joined to the one before
PLAIN = re.compile(r"[A-Z][A-Za-z ,.!?';:-]+[.!?]")
_FINITE = re.compile(
    r"^(?:I|you|he|she|it|we|they|this|that|these|those|there|who|what|how|why|when|where|don't|let|please|"
    r"the|a|an|his|her|my|our|your|their|its|some|many|most|all|no|nobody|everybody|everyone|someone|one|"
    r"if|as|after|before|in|on|at|by|for|with|from|\w+ (?:is|was|are|were|has|have|had|will|would|can|could))\b",
    re.IGNORECASE,
)


def wordnet(site: Path) -> Iterator[str]:
    """Example sentences of WordNet 3.0, everyday English mostly, made to begin and end as sentences do."""
    for part in ("verb", "noun", "adj", "adv"):
        path = site / "debian/wordnet-base/usr/share/wordnet" / f"data.{part}"
        for line in path.read_text("utf-8", errors="replace").splitlines():
            for quoted in re.findall(r'"([^"]+)"', line.partition("| ")[2]):
                text = quoted.strip(" ;,-").replace("`", "'")
                if text.count(" ") >= 3 and _FINITE.match(text) and "..." not in text:
                    text = text[0].upper() + text[1:]
                    yield text if text[-1] in ".!?" else text + "."


def fortunes(packages: Path) -> Iterator[str]:
    """Sentences of Debian's fortunes, from a folder of the unpacked packages."""
    for package in FORTUNES:
        folder = packages / package / "usr/share/games/fortunes"
        for path in sorted(folder.iterdir()):
            if path.suffix or path.is_symlink():
                continue
            for fortune in path.read_text("utf-8", errors="replace").split("\n%\n"):
                text = re.sub(r"\s+", " ", re.split(r"-- |\t\t", fortune)[0])
                yield from (sentence.strip() for sentence in re.split(r"(?<=[.!?]) ", text))


def _listed(text: str) -> list[str]:
    """The parts between commas."""
    return re.split(r",\s+", text.strip())


_PHRASES = """
Yes. No. Maybe. Hello. Hello! Hi there. Good morning. Good evening! Good night. Goodbye. See you soon. See
you tomorrow! Thank you. Thanks a lot! Many thanks. You're welcome. Please. Please wait. One moment, please.
Excuse me. Sorry. I'm sorry. Of course. Of course not! Certainly. Not yet. Not now. Not at all. Never mind.
Never! Always. Right away. All right. Okay. Really? Why? Why not? Who? Who's there? What? What now? Where?
When? How? How much? How far? Which one? Are you sure? Can you hear me? Do you see it? Is it true? What
happened? What's that? Where is it? Who said so? Is anybody home? Stop! Wait! Look! Look out! Listen! Listen
to me! Come here! Come in. Go on. Go away! Help! Hurry up! Be quiet! Be careful. Well done! Wonderful!
Great! Fantastic! Oh dear. Oh no! Ah, yes. Hm, perhaps. Well, well. I see. I know. I think so. I don't know.
I hope so. I agree. So do I. Me too. That's all. That's right. That's it! It works! It's late. It's raining.
Left. Right. Up. Down. Open. Closed. Start. Stop. Next. Back. Again. Ready? Ready. Done. Finished. Monday.
Friday night. Turn left. Turn right. Keep going. Sit down. Stand up. Take care. Have fun! Happy birthday!
Good luck! Cheers! Welcome! Welcome back. Welcome home! Merry Christmas! Happy New Year! Congratulations!
Nice to meet you. How are you? I'm fine.
"""
_NAMES = _listed(
    """
    Anna, James, Emma, Oliver, Sarah, Thomas, Lucy, Daniel, Grace, Henry, Alice, George, Maria, Peter,
    Julia, Arthur
    """
)
_THINGS = _listed(
    """
    the kettle, the last train, your umbrella, the blue door, that old song, the garden gate, my other shoe,
    the map, the bread, a cup of tea, the newspaper, the night bus, her bicycle, the top shelf, the kitchen
    window, this puzzle, the weather report, the lighthouse, a warm coat, the river path, his violin, the
    spare key, the orange juice, a good dictionary
    """
)
_PLACES = _listed(
    """
    London, Boston, the station, the harbour, the library, the market, Chicago, Edinburgh, the airport,
    school, the office, the museum, Paris, the mountains, the beach, the hospital, New York, the old bridge,
    the bakery, the theatre
    """
)
_FRAMES = (
    "Have you seen {thing}?",
    "{name}, where did you put {thing}?",
    "Could you bring me {thing}, please?",
    "Who left {thing} at {place}?",
    "Is {name} coming to {place} tonight?",
    "Why didn't anybody tell {name}?",
    "What a surprise, {name}!",
    "{name} forgot {thing} again!",
    "Don't forget {thing}!",
    "How lovely to see you, {name}!",
    "The train to {place} leaves at {hour}:{minute}.",
    "Meet me at {place} at {hour} o'clock.",
    "It's {hour}:{minute}, and {name} isn't here yet.",
    "That will be {dollars} dollars and {cents} cents.",
    "It costs ${dollars}.{cents}.",
    "We need {small} eggs, {small} lemons, and {thing}.",
    "Call me on {digit}{digit}{digit}, {digit}{digit}{digit}{digit}.",
    "{name} was born on {month} {day}, {year}.",
    "In {year}, {number} people lived near {place}.",
    "About {percent} percent of them went to {place}.",
    "Room {number}, please.",
    "Page {number}.",
    "Flight {number} to {place} is delayed.",
    "{name}, {name}, and {name} are waiting outside.",
    "If {name} calls, say that I've gone to {place}.",
    "First we went to {place}; then we looked for {thing}.",
    "Was it {name}, or was it {name}?",
    "Well, I thought {thing} was at {place}.",
    "No, {name}, not {thing}: the other one!",
    "The temperature today is {small} degrees.",
)
_MONTHS = _listed(
    """
    January, February, March, April, May, June, July, August, September, October, November, December
    """
)


def _phrases() -> Iterator[str]:
    """Short phrases of our own, and frames with names, times, prices and dates, without end."""
    chance = random.Random(0)
    short = re.findall(r"[^.!?]+[.!?]", re.sub(r"\s+", " ", _PHRASES))
    short = [phrase.strip() for phrase in short]
    while True:
        chance.shuffle(short)
        for phrase in short:
            yield phrase
            for frame in chance.sample(_FRAMES, 2):
                yield re.sub(r"\{(\w+)\}", lambda match: _filling(match[1], chance), frame)


def _filling(slot: str, chance: random.Random) -> str:
    values = {
        "name": _NAMES,
        "thing": _THINGS,
        "place": _PLACES,
        "month": _MONTHS,
        "minute": ("05", "10", "15", "20", "30", "40", "45", "55"),
        "hour": range(1, 13),
        "day": range(1, 29),
        "year": range(1901, 2030),
        "dollars": range(2, 100),
        "cents": range(10, 100),
        "small": range(2, 31),
        "percent": range(2, 100),
        "number": range(10, 1000),
        "digit": range(10),
    }
    return str(chance.choice(values[slot]))


def in_order(texts: Iterable[str], shortest: int, longest: int) -> list[str]:
    """The plain ones among some texts, each once, in an order that depends on nothing but themselves."""
    kept = {
        text
        for text in texts
        if shortest <= len(text) <= longest and PLAIN.fullmatch(text) and not text.isupper()
    }
    return sorted(kept, key=lambda text: hashlib.sha256(text.encode()).digest())


def held_out(site: Path) -> tuple[list[str], list[str]]:
    """50 texts to be measured on and 12 to clone from, all of the fortunes, one to five seconds long."""
    fitting = [
        text
        for text in in_order(fortunes(site / "debian"), 12, 64)
        if len(text) >= 28 and "'" not in text and text.count(" ") >= 4
    ]
    return fitting[:TEST], fitting[TEST : TEST + REFERENCES]


def training_texts(site: Path) -> list[str]:
    """All texts to be read for training, none of which holds one that is held out."""
    test, references = held_out(site)
    forbidden = {*test, *references}
    sentences = in_order([*wordnet(site), *fortunes(site / "debian")], 12, LONGEST)
    chance, phrases = random.Random(1), _phrases()
    texts: list[str] = []
    for sentence in sentences:
        if sentence in forbidden:
            continue
        while chance.random() < SHORT_SHARE:
            texts.append(next(phrases))
        joined = f"{texts[-1]} {sentence}" if texts else sentence
        if len(joined) <= LONGEST and chance.random() < PAIRED_SHARE:
            texts[-1] = joined
        else:
            texts.append(sentence)
    return list(dict.fromkeys(texts))
