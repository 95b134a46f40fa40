"""An SMTP server for tests: `smtp_server.py PORT FOLDER [CERTIFICATE KEY]`.

It stores each accepted mail as a file in FOLDER: `0001.eml` and so on. FOLDER/script contains the replies to
the next mails, one per line and mail: `451` or `550` after the text, `rcpt 451` or `rcpt 550` after the
recipient, `hang` (no reply after the text), `cut` (the connection is closed after the text) or
`keep-and-cut` (the same, but the mail is stored). Without a line the reply is 250.
"""

import asyncio
import pathlib
import ssl
import sys

from aiosmtpd.smtp import SMTP

port, folder = int(sys.argv[1]), pathlib.Path(sys.argv[2])
script = folder / "script"


def planned():
    lines = script.read_text().splitlines() if script.exists() else []
    return lines[0] if lines else ""


def next_answer():
    answer = planned()
    if answer:
        remaining = folder / "script.new"
        remaining.write_text("".join(line + "\n" for line in script.read_text().splitlines()[1:]))
        remaining.replace(script)
    return answer


def keep(envelope):
    number = len(list(folder.glob("*.eml"))) + 1
    unfinished = folder / "unfinished"
    unfinished.write_bytes(f"X-Rcpt: {','.join(envelope.rcpt_tos)}\r\n".encode() + envelope.original_content)
    unfinished.rename(folder / f"{number:04}.eml")


class Handler:
    async def handle_RCPT(self, server, session, envelope, address, options):
        if planned().startswith("rcpt "):
            return next_answer()[5:] + " as the script says"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server, session, envelope):
        answer = next_answer()
        with (folder / "seen").open("a") as seen:
            seen.write((answer or "250") + "\n")
        if answer == "hang":
            await asyncio.sleep(3600)
        if answer == "keep-and-cut":
            keep(envelope)
        if answer.endswith("cut"):
            server.transport.abort()
            return "250 not sent, the connection is closed"
        if answer:
            return answer + " as the script says"
        keep(envelope)
        return "250 OK"


def tls():
    if len(sys.argv) < 5:
        return None
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(sys.argv[3], sys.argv[4])
    return context


async def main():
    context = tls()
    loop = asyncio.get_running_loop()
    server = await loop.create_server(
        lambda: SMTP(Handler(), tls_context=context, hostname="localhost"), "127.0.0.1", port
    )
    await server.serve_forever()


asyncio.run(main())
