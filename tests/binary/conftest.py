import pytest

import harness


def pytest_configure(config):
    missing = [str(path) for path in (harness.BINARY, harness.MODEL_FILE) if not path.exists()]
    if missing:
        raise pytest.UsageError(f"not there: {', '.join(missing)}; run `make build model`")


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """One server for the tests of a file that leave it as they found it."""
    with harness.Server(tmp_path_factory.mktemp("server") / "home") as running:
        yield running


@pytest.fixture
def home(tmp_path):
    """A data folder that nobody has used."""
    return tmp_path / "home"
