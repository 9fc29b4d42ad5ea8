"""Explain a text classifier: integrated gradients at the output of its embedding, summed by word.

Token ids have no gradient; the vectors that the embedding gives for them do. The baseline has the
vector of padding for each word. Trains a small model on sentences that are generated here, then
prints a few sentences with coloured words: red speaks for the predicted class, blue against it.
Needs about fifteen seconds.
"""

import keras
import numpy as np
from rich.console import Console
from rich.text import Text

import tfxai

CLASSES = ("negative", "positive")
ADJECTIVES = (
    ["awful", "boring", "clumsy", "dull", "lifeless", "terrible", "tedious", "weak"],
    ["brilliant", "charming", "clever", "delightful", "gripping", "moving", "superb", "wonderful"],
)
OPENINGS = ("the", "i think the", "for me the", "all in all the", "last night the")
NOUNS = ["acting", "cast", "dialogue", "ending", "film", "music", "plot", "story"]
VERBS = ("was", "felt", "seemed", "looked")
ADVERBS = ("", "really", "quite", "rather", "very")
CLOSINGS = ("", "from start to finish", "to my friends", "as i had heard", "and it was long")
LENGTH = 16
EXAMPLES = (
    "the film was superb",
    "i think the dialogue felt rather tedious from start to finish",
    "the music was wonderful but the plot was dull",
    "the plot was dull and tedious but the music was wonderful",
)


def corpus(count, seed):
    """Generate sentences with one adjective each, and their classes."""
    random = np.random.default_rng(seed)
    labels = random.integers(0, 2, count)
    return [sentence(random, label) for label in labels], labels


def sentence(random, label):
    parts = (OPENINGS, NOUNS, VERBS, ADVERBS, ADJECTIVES[label], CLOSINGS)
    return " ".join(" ".join(random.choice(words) for words in parts).split())


def vocabulary():
    """Give each word's token id; 0 is padding."""
    parts = (OPENINGS, NOUNS, VERBS, ADVERBS, *ADJECTIVES, CLOSINGS, ("but",))
    words = {word for phrases in parts for phrase in phrases for word in phrase.split()}
    return {word: i for i, word in enumerate(sorted(words), 1)}


def encode(sentences):
    """Give token ids ``[N, LENGTH]``, padded at the end."""
    ids, id_of = np.zeros((len(sentences), LENGTH), "int32"), vocabulary()
    for row, text in zip(ids, sentences, strict=True):
        tokens = [id_of[word] for word in text.split()]
        row[: len(tokens)] = tokens
    return ids


def classifier():
    layers = [
        keras.Input((LENGTH,), dtype="int32"),
        keras.layers.Embedding(len(vocabulary()) + 1, 16, name="embedding"),
        keras.layers.Conv1D(32, 3, padding="same", activation="relu"),
        keras.layers.GlobalMaxPooling1D(),
        keras.layers.Dense(len(CLASSES), activation="softmax"),
    ]
    return keras.Sequential(layers)


def trained():
    keras.utils.set_random_seed(0)
    sentences, labels = corpus(1000, seed=0)
    model = classifier()
    model.compile(keras.optimizers.Adam(0.01), "sparse_categorical_crossentropy")
    model.fit(encode(sentences), labels, epochs=3, verbose=0)
    return model


def explain_tokens(model, ids, targets):
    """Give each token's attribution ``[B, T]``; that of padding is 0, since it is held."""
    text = tfxai.embedded(model, padding=0)
    at_head = tfxai.integrated_gradients(text.head, baseline=text.embedding_of(0))
    return text.explained_by(at_head)(ids, targets).numpy()


def coloured(words, values):
    """Colour the ground of each word: red speaks for the class, blue against it."""
    text, largest = Text(), np.abs(values).max()
    for word, value in zip(words, values, strict=False):
        others = round(255 * (1 - abs(value) / largest))
        ground = (255, others, others) if value > 0 else (others, others, 255)
        text.append(f" {word} ", style=f"black on rgb({','.join(map(str, ground))})")
    return text


def main():
    model, console = trained(), Console(highlight=False)
    ids = encode(EXAMPLES)
    outputs = model.predict(ids, verbose=0)
    targets = outputs.argmax(1)
    values = explain_tokens(model, ids, targets)
    for text, target, row, probabilities in zip(EXAMPLES, targets, values, outputs, strict=True):
        title = f"{CLASSES[target]}, probability {probabilities[target]:.3f}"
        console.print(title, coloured(text.split(), row), "", sep="\n")


if __name__ == "__main__":
    main()
