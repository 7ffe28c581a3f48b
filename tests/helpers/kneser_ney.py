"""Interpolated Kneser-Ney by dictionaries, as the formula is written, to hold the arrays against."""

from collections import Counter

START, END = "start", 0


class Reference:
    """P(label | labels before) of an order-N model; label 0 is the end."""

    def __init__(self, sentences, order, vocab_size):
        self.order, self.vocab_size = order, vocab_size
        occurrences = Counter()
        for sentence in sentences:
            text = [START, *sentence, END]
            for n in range(1, order + 1):
                occurrences.update(tuple(text[i : i + n]) for i in range(len(text) - n + 1))
        del occurrences[(START,)]
        self.counts = {}
        for gram, count in occurrences.items():
            before = {other[0] for other in occurrences if other[1:] == gram}
            continues = len(gram) < order and gram[0] != START
            self.counts[gram] = len(before) if continues else count
        self.discounts = {}
        for n in range(1, order + 1):
            found = [count for gram, count in self.counts.items() if len(gram) == n]
            once, twice = found.count(1), found.count(2)
            self.discounts[n] = once / (once + 2 * twice) if once and twice else 0.5

    def prob(self, label, before):
        """`before` is the whole sentence up to the label."""
        context = (START, *before)
        return self._prob(label, context[max(0, len(context) - self.order + 1) :])

    def _prob(self, label, context):
        lower = self._prob(label, context[1:]) if context else 1 / self.vocab_size
        followers = {
            gram[-1]: count
            for gram, count in self.counts.items()
            if len(gram) == len(context) + 1 and gram[:-1] == context
        }
        if not followers:
            return lower
        total, discount = sum(followers.values()), self.discounts[len(context) + 1]
        own = max(followers.get(label, 0) - discount, 0) / total
        return own + discount * len(followers) / total * lower
