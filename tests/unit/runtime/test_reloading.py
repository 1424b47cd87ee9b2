"""A listener's certificate is read again beside the loop."""

import asyncio
import os
import ssl
from pathlib import Path

import pytest

from gateway.runtime.listeners.tls import Reloading, listener_context
from gateway.runtime.settings import DataPlaneSettings
from tests.support.certificates import Authority
from tests.support.gateways import wait_for


def served_serial(context: ssl.SSLContext, authority: Path) -> str:
    """The serial number of the certificate that a listener presents."""
    calling = ssl.create_default_context(cafile=authority)
    calling.check_hostname = False
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = calling.wrap_bio(to_client, to_server)
    server = context.wrap_bio(to_server, to_client, server_side=True)
    for _ in range(3):
        for side in (client, server):
            try:
                side.do_handshake()
            except ssl.SSLWantReadError:
                continue
    found = client.getpeercert()
    assert found is not None
    return str(found["serialNumber"])


def test_a_certificate_that_cannot_be_read_yet_holds_up_no_loop(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The file is a pipe into which nobody has written: the loop turns meanwhile, and a second request is not lost;
    what is no certificate changes nothing, and is told."""
    authority = Authority()
    ca = authority.write_ca(tmp_path / "ca.pem")
    file = authority.write("127.0.0.1", tmp_path / "server.pem")
    settings = DataPlaneSettings(tls_certificate=file)
    context = listener_context(settings)
    assert context is not None
    first = served_serial(context, ca)
    pems = [authority.write("127.0.0.1", tmp_path / f"{name}.pem").read_bytes() for name in "ab"]
    file.unlink()
    os.mkfifo(file)

    def give(pem: bytes) -> None:
        with file.open("wb") as pipe:
            pipe.write(pem)

    async def story() -> None:
        reload = Reloading(context, settings)
        reload()
        await asyncio.sleep(0.05)
        reload()  # while the first reading hangs
        turned = [await asyncio.sleep(0, number) for number in range(100)]
        assert turned == list(range(100))
        assert served_serial(context, ca) == first
        serials = [first]
        for pem in pems:
            await asyncio.to_thread(give, pem)
            async with asyncio.timeout(10):
                # On the loop, as every handshake is: nowhere else is a context asked while it takes a new key.
                while served_serial(context, ca) == serials[-1]:  # noqa: ASYNC110 - a handshake tells nobody
                    await asyncio.sleep(0.01)
            serials.append(served_serial(context, ca))
        assert len(set(serials)) == 3, "both requests were answered"
        file.unlink()
        file.write_text("no certificate")
        before = served_serial(context, ca)
        reload()
        assert await asyncio.to_thread(wait_for, lambda: "the old one stays" in caplog.text)
        assert served_serial(context, ca) == before

    asyncio.run(story())
