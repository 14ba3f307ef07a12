"""What was assumed while a file was read: sentences for people, each kept once."""

from dataclasses import dataclass, field


@dataclass(slots=True)
class Notes:
    """The assumptions about one file by their subject, such as `zone` or `prices`, in the order in which they arose."""

    by_subject: dict[str, str] = field(default_factory=dict)

    def add(self, subject: str, text: str) -> None:
        """Keep the first sentence on a subject."""
        self.by_subject.setdefault(subject, text)
