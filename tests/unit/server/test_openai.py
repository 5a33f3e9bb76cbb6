"""``/v1``: OpenAI's images API over the official package, in one process."""

from __future__ import annotations

import base64
import io

import openai
import pytest
from fastapi.testclient import TestClient
from PIL import Image


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
    out = io.BytesIO()
    Image.new("RGB", (8, 8)).save(out, "PNG")
    with pytest.raises(openai.APIStatusError, match="not supported"):
        api.images.edit(prompt="a cat", image=out.getvalue())
