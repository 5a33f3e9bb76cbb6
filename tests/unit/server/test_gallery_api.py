"""``/api/v1/gallery``: any number of pictures in order, what two differ in, and pictures from elsewhere."""

from __future__ import annotations

import io
from dataclasses import replace

from fastapi.testclient import TestClient
from PIL import Image

from sfumato.gallery import files
from sfumato.server.services import Services

from ..gallery.test_infotext import INFO


def _save(services: Services, **changes: object) -> str:
    path = files.save(Image.new("RGB", (16, 16)), replace(INFO, **changes), services.gallery.folder)
    return services.gallery.add(path).id


def test_all_pictures_in_order_by_the_same_words_as_a_search(client: TestClient, services: Services) -> None:
    ids = {_save(services, prompt=f"picture {k}", seed=k) for k in range(60)}
    found = client.get("/api/v1/gallery/order").json()
    assert found["total"] == 60
    assert {each["id"] for each in found["pictures"]} == ids
    assert set(found["pictures"][0]) == {"id", "created", "label"}
    assert [each["label"] for each in client.get("/api/v1/gallery/order?words=59").json()["pictures"]] == ["picture 59"]
    assert client.get("/api/v1/gallery/order?rating=9").status_code == 422


def test_tags_differences_and_thumbnails_that_browsers_keep(client: TestClient, services: Services) -> None:
    one, two = _save(services, seed=1), _save(services, seed=2)
    assert client.patch(f"/api/v1/gallery/{one}", json={"tags": ["a", "b"]}).json()["tags"] == ["a", "b"]
    assert client.get("/api/v1/gallery/tags").json() == {"a": 1, "b": 1}
    assert client.get("/api/v1/gallery/order?tag=b").json()["pictures"][0]["id"] == one
    assert client.get(f"/api/v1/gallery/{one}/differences/{two}").json() == {"Seed": ["1", "2"]}
    assert client.get(f"/api/v1/gallery/{one}/differences/{'0' * 32}").status_code == 400
    assert "cache-control" not in client.get(f"/api/v1/gallery/{one}/thumbnail").headers
    assert "immutable" in client.get(f"/api/v1/gallery/{one}/thumbnail?v=1").headers["cache-control"]


def test_a_picture_from_elsewhere_is_read_and_not_kept(client: TestClient, services: Services) -> None:
    data = files.describe(Image.new("RGB", (16, 16)), replace(INFO, prompt="<b>a</b>", seed=7))
    told = client.post("/api/v1/gallery/read", content=data).json()
    assert (told["prompt"], told["seed"], told["request"]["seed"]) == ("<b>a</b>", 7, 7)
    job = client.post("/api/v1/jobs", json={"request": {"prompt": told["request"]["prompt"], "seed": 7}})
    assert job.status_code == 201

    plain = io.BytesIO()
    Image.new("RGB", (16, 16)).save(plain, "PNG")
    assert client.post("/api/v1/gallery/read", content=plain.getvalue()).json()["request"] is None
    assert client.post("/api/v1/gallery/read", content=b"no picture").status_code == 400
    large = io.BytesIO()
    Image.new("RGB", (300, 300)).save(large, "PNG")
    assert "at most 65536 pixels" in client.post("/api/v1/gallery/read", content=large.getvalue()).text
