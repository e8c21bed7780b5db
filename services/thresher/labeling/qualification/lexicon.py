"""Sentences for planted features: templates with places, and words for them."""

WORDS: dict[str, tuple[str, ...]] = {
    "animal": ("dog", "horse", "cat", "sheep", "wolf", "rabbit", "cow", "fox", "mouse", "goat"),
    "food": ("bread", "cheese", "soup", "rice", "butter", "cake", "honey", "pasta", "salad", "pie"),
    "sea": ("ship", "harbour", "sailor", "waves", "anchor", "boat", "captain", "tide", "shore", "sail"),
    "colour": ("red", "blue", "green", "yellow", "purple", "orange", "brown", "pink", "white", "black"),
    "body": ("hand", "foot", "knee", "shoulder", "head", "arm", "finger", "back", "neck", "leg"),
    "family": ("mother", "brother", "aunt", "sister", "father", "uncle", "cousin", "daughter", "son"),
    "thing": ("table", "letter", "window", "road", "garden", "machine", "picture", "box", "door", "wall"),
    "time": ("yesterday", "later", "again", "today", "often", "early", "soon", "once"),
    "doing": ("walking", "talking", "waiting", "running", "reading", "singing", "working", "looking"),
    "did": ("walked", "talked", "waited", "worked", "looked", "asked", "moved", "called"),
    "number": ("1990", "40", "7", "350", "12", "2005", "18", "600"),
    "place": ("London", "France", "Peru", "Egypt", "Boston", "Kenya", "Berlin", "Japan"),
}
TEMPLATES = (
    "the {thing} was near a {thing} {time}.",
    "they {did} to the {thing} and {did} {time}.",
    "a {animal} sat by the {thing}.",
    "she had {food} for lunch.",
    "a {sea} was close to the {thing}.",
    "his {body} was hurt {time}.",
    "the {colour} {thing} stood there.",
    "my {family} {did} with us.",
    "we paid {number} for it.",
    "he was {doing} by the {thing}.",
    "it came from {place} by post.",
    "when it rained, people {did} home.",
    "the {thing} is old, so we {did}.",
    "was the {thing} open?",
    "did you see a {thing}?",
    "it was very small.",
    "a very old {thing} fell.",
    "they {did} because the {thing} broke.",
    "nobody {did} because it was late.",
    "we {did} with her.",
)
"""Each holds at most one word of what a rule may be about, so that a text may well be without it."""
