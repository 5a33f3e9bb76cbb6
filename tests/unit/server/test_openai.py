"""``/v1``: OpenAI's images API over the official package, in one process."""

from __future__ import annotations

import base64
import io

import openai
import pytest
from fastapi.testclient import TestClient
from PIL import Image

from sfumato.request import Txt2ImgRequest
from sfumato.server.services import Services


@pytest.fixture
def api(client: TestClient) -> openai.OpenAI:
    return openai.OpenAI(base_url="http://localhost:7860/v1", api_key="any", http_client=client, max_retries=0)


def _open(text: str | None) -> Image.Image:
    return Image.open(io.BytesIO(base64.b64decode(text or "")))


def test_generations(api: openai.OpenAI) -> None:
    answer = api.images.generate(
        prompt="a cat",
        n=2,
        size="64x32",
        model="dall-e-2",
        extra_body={"seed": 5, "steps": 2, "negative_prompt": "dog"},
    )
    assert answer.data is not None
    pictures = [_open(each.b64_json) for each in answer.data]
    assert [each.size for each in pictures] == [(64, 32)] * 2
    assert "Negative prompt: dog\nSteps: 2" in pictures[0].info["parameters"]
    assert "Seed: 6" in pictures[1].info["parameters"]


def test_other_formats_and_addresses(api: openai.OpenAI, client: TestClient) -> None:
    answer = api.images.generate(
        prompt="a cat", output_format="webp", output_compression=50, response_format="url", model="own"
    )
    assert answer.data is not None
    got = client.get(answer.data[0].url or "")
    assert got.headers["content-type"] == "image/webp"
    assert Image.open(io.BytesIO(got.content)).format == "WEBP"
    assert client.get("/v1/images/files/odd.png").status_code == 404


def test_partial_images_come_first(api: openai.OpenAI) -> None:
    kinds = []
    for event in api.images.generate(prompt="a cat", stream=True, partial_images=2):
        kinds.append(event.type)
        assert _open(event.b64_json).size in ((8, 8), (64, 64))

    assert kinds[-1] == "image_generation.completed"
    assert set(kinds[:-1]) <= {"image_generation.partial_image"}


def test_models(api: openai.OpenAI) -> None:
    assert [model.id for model in api.models.list()] == ["stable-universe", "own"]
    assert api.models.retrieve("own").owned_by == "local"


@pytest.mark.parametrize(
    "change",
    [{"size": "big"}, {"size": "99999x99999"}, {"n": 11}, {"extra_body": {"steps": 0}}, {"prompt": "fail"},
     {"extra_body": {"sampler": "odd"}}, {"prompt": ""}],
)  # fmt: skip
def test_wrong_requests_are_told(api: openai.OpenAI, change: dict) -> None:
    with pytest.raises(openai.BadRequestError):
        api.images.generate(**{"prompt": "a cat", **change})


def test_unknown_models_and_what_is_not_there_yet(api: openai.OpenAI) -> None:
    with pytest.raises(openai.NotFoundError, match="There is no model"):
        api.images.generate(prompt="a cat", model="odd")
    with pytest.raises(openai.BadRequestError, match="Invalid encoded image"):
        api.images.edit(prompt="a cat", image=b"Example data")


def _file(alpha: int | None = None) -> bytes:
    picture, out = Image.new("RGB" if alpha is None else "RGBA", (16, 8), "red"), io.BytesIO()
    if alpha is not None:
        picture.paste((0, 0, 0, alpha), (0, 0, 8, 8))
    picture.save(out, "PNG")
    return out.getvalue()


def _watched(services: Services) -> list[Txt2ImgRequest]:
    seen: list[Txt2ImgRequest] = []
    submit = services.queue.submit
    services.queue.submit = lambda request, **more: seen.append(request) or submit(request, **more)  # type: ignore[method-assign]
    return seen


def test_an_edit_draws_where_the_mask_lets_through(api: openai.OpenAI, services: Services) -> None:
    seen = _watched(services)
    answer = api.images.edit(prompt="a cat", image=_file(), mask=_file(0), n=2, extra_body={"seed": 5, "steps": 2})

    assert answer.data is not None
    assert [_open(each.b64_json).size for each in answer.data] == [(16, 8)] * 2
    init = seen[0].init
    assert init is not None
    assert init.mask is not None
    assert [init.mask.picture.getpixel((x, 0)) for x in (0, 15)] == [255, 0]
    assert (init.denoising_strength, init.mask.fill, seen[0].width) == (1.0, "fill", None)


def test_an_edit_without_a_mask_and_a_variation_start_from_the_picture(api: openai.OpenAI, services: Services) -> None:
    seen = _watched(services)
    api.images.edit(prompt="a cat", image=[_file()], size="auto", extra_body={"strength": 0.5})
    api.images.edit(prompt="a cat", image=_file(0))
    with pytest.warns(DeprecationWarning, match="deprecated"):
        api.images.create_variation(image=_file(), size="256x256")

    inits = [each.init for each in seen]
    assert [each and each.denoising_strength for each in inits] == [0.5, 1.0, 0.6]
    assert [each and each.mask is not None for each in inits] == [False, True, False]
    assert [(each.prompt, each.width) for each in seen] == [("a cat", None), ("a cat", None), ("", 256)]


def test_an_edit_streams_events_of_its_own(api: openai.OpenAI) -> None:
    events = list(api.images.edit(prompt="a cat", image=_file(), stream=True))

    assert [each.type for each in events] == ["image_edit.completed"]


def test_a_form_that_cant_be_drawn_is_told(api: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError, match="transparent nowhere"):
        api.images.edit(prompt="a cat", image=_file(), mask=_file())
    with pytest.raises(openai.BadRequestError, match="strength"):
        api.images.edit(prompt="a cat", image=_file(), extra_body={"strength": 2})
    with pytest.raises(openai.BadRequestError, match="prompt"):
        api.images.edit(prompt="", image=_file())
    with pytest.raises(openai.APIStatusError, match="Several pictures"):
        api.images.edit(prompt="a cat", image=[_file(), _file()])
