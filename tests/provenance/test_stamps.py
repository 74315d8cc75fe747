"""Time stamps, by a server on this machine that OpenSSL makes."""

import http.server
import shutil
import subprocess
import threading

import pytest

from mmdiff.provenance.c2pa import C2pa
from mmdiff.provenance.signatures import signature
from tests.provenance.test_tags import written

NAME = "[req]\ndistinguished_name=dn\nprompt=no\nx509_extensions=v3\n[dn]\nCN=clock\nO=here\n[v3]\n"
ROOT = "basicConstraints=critical,CA:true\nkeyUsage=critical,keyCertSign\nsubjectKeyIdentifier=hash\n"
LEAF = ("basicConstraints=critical,CA:false\nkeyUsage=critical,digitalSignature\nsubjectKeyIdentifier=hash\n"
        "extendedKeyUsage=critical,timeStamping\nauthorityKeyIdentifier=keyid\n")
SERVER = ("[tsa]\ndefault_tsa=t\n[t]\nserial=serial\nsigner_cert=leaf.pem\ncerts=root.pem\nsigner_key=leaf.key\n"
          "signer_digest=sha256\ndefault_policy=1.2.3.4.1\ndigests=sha256,sha384,sha512\ness_cert_id_chain=no\n")


@pytest.fixture
def clock(tmp_path):
    """The URL of a server, and its root."""
    if shutil.which("openssl") is None:
        pytest.skip("there is no openssl to make a server of")

    def run(*words):
        subprocess.run(["openssl", *words], cwd=tmp_path, check=True, capture_output=True)

    for name, text in (("root.cnf", NAME + ROOT), ("leaf.cnf", NAME), ("leaf.ext", LEAF), ("tsa.cnf", SERVER),
                       ("serial", "01\n")):
        (tmp_path / name).write_text(text)
    for name in ("root", "leaf"):
        run("ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", f"{name}.key")
    run("req", "-x509", "-new", "-key", "root.key", "-out", "root.pem", "-days", "3", "-config", "root.cnf")
    run("req", "-new", "-key", "leaf.key", "-out", "leaf.csr", "-config", "leaf.cnf", "-subj", "/CN=stamp/O=here")
    run("x509", "-req", "-in", "leaf.csr", "-CA", "root.pem", "-CAkey", "root.key", "-CAcreateserial", "-days", "2",
        "-out", "leaf.pem", "-extfile", "leaf.ext")

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            (tmp_path / "query").write_bytes(self.rfile.read(int(self.headers["content-length"])))
            run("ts", "-reply", "-config", "tsa.cnf", "-queryfile", "query", "-out", "reply")
            self.send_response(200)
            self.send_header("content-type", "application/timestamp-reply")
            self.end_headers()
            self.wfile.write((tmp_path / "reply").read_bytes())

        def log_message(self, *words):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}", tmp_path / "root.pem"
    server.shutdown()


def test_a_time_stamp_is_shown_with_whether_its_server_is_known(tmp_path, keys, clock):
    url, root = clock
    path, own = tmp_path / "a.wav", C2pa(keys[0], str(keys[1]), tsa=url)
    own.check(".wav")
    written(path)
    own.sign(path, "a.wav", {"id": "a"}, {})
    found = signature(path, keys[2])
    assert (found.state, found.stamped[25:]) == ("trusted", ", of an unknown server")
    (tmp_path / "both.pem").write_bytes(keys[2].read_bytes() + root.read_bytes())
    assert signature(path, tmp_path / "both.pem").stamped.endswith("+00:00, trusted")
