"""What a client is told of the server and its models, and that it can load and unload them."""

from __future__ import annotations

import numpy as np

from tests.e2e.conformance.server import Server, check, expect, expect_status


@check
def live(server: Server) -> None:
    """The server lives."""
    expect(server.client.is_server_live(), True)


@check
def ready(server: Server) -> None:
    """The server is ready."""
    expect(server.client.is_server_ready(), True)


@check
def model_ready(server: Server) -> None:
    """A model is ready, with and without its version; one that there is not is not."""
    states = [server.client.is_model_ready(*model) for model in (("mirror",), ("mirror", "1"), ("nope",))]
    expect(states, [True, True, False])


@check
def server_metadata(server: Server) -> None:
    """The server has a name, a version and extensions."""
    found = server.client.get_server_metadata(**({} if server.is_http else {"as_json": True}))
    expect(found["name"], "inference-hub")
    expect({"model_repository", "statistics"} <= set(found["extensions"]), True)


def _metadata(server: Server, version: str) -> None:
    found = server.client.get_model_metadata("mirror", version, **({} if server.is_http else {"as_json": True}))
    expect((found["name"], found["versions"]), ("mirror", ["1"]))
    expect([int(size) for size in found["inputs"][0]["shape"]], [-1, -1])
    expect([output["name"] for output in found["outputs"]], ["x", "twice"])


@check
def model_metadata(server: Server) -> None:
    """A model has versions and a signature."""
    _metadata(server, "")


@check
def model_metadata_of_a_version(server: Server) -> None:
    """So has one version of it."""
    _metadata(server, "1")


@check
def repository_index(server: Server) -> None:
    """Every model is READY."""
    index = server.index()
    expect({index[name] for name in ("mirror", "letters", "pair", "slow")}, {"READY"})


@check
def unload_infer_load(server: Server) -> None:
    """What is unloaded answers nothing and is not READY; loaded again it answers. Both may be repeated."""
    server.client.unload_model("pair")
    server.client.unload_model("pair")
    expect(server.index().get("pair") == "READY", False)
    left, right = np.ones((1, 2), np.float32), np.ones((1, 2), np.int32)
    inputs = [server.input("left", left), server.input("right", right, "INT32")]
    expect_status(server, "404", "NOT_FOUND", lambda: server.infer("pair", inputs))
    server.client.load_model("pair")
    server.client.load_model("pair")
    expect(server.index()["pair"], "READY")
    expect(server.infer("pair", inputs).as_numpy("sum").tolist(), [[2.0, 2.0]])


@check
def load_of_what_is_not_there(server: Server) -> None:
    """An error, and 404 or NOT_FOUND."""
    expect_status(server, "404", "NOT_FOUND", lambda: server.client.load_model("nope"))


@check
def statistics(server: Server) -> None:
    """They grow by the number of rows."""
    before = server.model_stats("mirror")
    server.infer(inputs=[server.input("x", np.ones((5, 3), np.float32))])
    after = server.model_stats("mirror")
    rows, calls = [
        [int(stats.get(key, 0)) for stats in (before, after)] for key in ("inference_count", "execution_count")
    ]
    expect((rows[1] - rows[0], calls[1] - calls[0]), (5, 1))
    expect(int(after["inference_stats"]["success"]["ns"]) > 0, True)


@check
def statistics_of_all(server: Server) -> None:
    """Without a name, of every model."""
    found = server.client.get_inference_statistics(**({} if server.is_http else {"as_json": True}))
    expect({"mirror", "letters"} <= {stats["name"] for stats in found["model_stats"]}, True)


@check
def config(server: Server) -> None:
    """The configuration names the model and its largest batch."""
    found = server.client.get_model_config("slow", **({} if server.is_http else {"as_json": True}))
    found = found if server.is_http else found["config"]
    expect((found["name"], found["max_batch_size"]), ("slow", 1))
