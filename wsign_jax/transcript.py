"""What was recognised, as its users see it: glosses with their times."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Gloss:
    """One recognised sign."""

    label: str  # its name in label_map.json
    start: float  # seconds from the beginning of the recording or stream
    end: float
    confidence: float  # in [0, 1], calibrated where the run's decoder was tuned


@dataclasses.dataclass(frozen=True)
class Transcript:
    """What was signed in one recording."""

    glosses: list[Gloss]  # in the order of their signing
    score: float  # log score of the hypothesis, as its decoder reckons

    @property
    def text(self) -> str:
        """The glosses' labels, separated by spaces."""
        return " ".join(gloss.label for gloss in self.glosses)
