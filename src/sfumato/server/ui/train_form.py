"""What a person fills in on the page that trains."""

from __future__ import annotations

from sfumato.server.trainings import Wanted
from sfumato.server.ui.form import Kept, bindable_dataclass

#: What can be trained, and the key of its name.
METHODS = {"lora": "method_lora", "textual_inversion": "method_word", "full": "method_full"}


@bindable_dataclass(kw_only=True)
class TrainForm(Kept):
    """The fields of the page. Words are the pictures' own (LoRA, full), or the new word (textual inversion)."""

    name: str = ""
    data_dir: str = ""
    upload: str = ""
    model: str | None = None
    method: str = "lora"
    words: str = ""
    rank: int = 16
    epochs: int = 100
    learning_rate: float = 1e-4
    class_pictures: int | None = None
    flip: bool = False
    sample_every: int = 250

    def wanted(self) -> Wanted:
        """What these fields ask for; pictures that were sent go before a folder.

        >>> TrainForm(name="cat", data_dir="/cats", words="a zorb").wanted().instance_prompt
        'a zorb'
        """
        inversion = self.method == "textual_inversion"
        words = self.words.strip() or None
        return Wanted(
            name=self.name.strip(),
            data_dir=None if self.upload else self.data_dir.strip() or None,
            upload=self.upload or None,
            model=self.model,
            method=self.method,
            rank=int(self.rank or 0),
            epochs=int(self.epochs or 0),
            learning_rate=float(self.learning_rate or 0),
            class_pictures=None if self.class_pictures is None else int(self.class_pictures),
            flip=self.flip,
            sample_every=int(self.sample_every or 0),
            token=words if inversion else None,
            instance_prompt=None if inversion else words,
        )
