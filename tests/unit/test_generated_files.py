"""What is generated is not stale."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from google.protobuf import descriptor_pb2

from inngest_connect.protocol import connect_pb2 as pb

pytestmark = pytest.mark.unit
ROOT = Path(__file__).parents[2]


def test_the_drawings_are_those_of_the_tables() -> None:
    done = subprocess.run(
        [sys.executable, "scripts/diagrams.py", "--check"],
        cwd=ROOT,
        check=False,
        stdout=subprocess.PIPE,
        text=True,
    )

    assert (done.returncode, done.stdout) == (0, "")


def test_connect_and_the_tables_of_options_are_those_of_the_table() -> None:
    done = subprocess.run(
        [sys.executable, "scripts/option_docs.py", "--check"], cwd=ROOT, check=False
    )

    assert done.returncode == 0, "connect() or a table of options is stale: run `make docs`"


def test_the_generated_module_has_the_fields_of_the_proto_file() -> None:
    source = (ROOT / "src/inngest_connect/protocol/connect.proto").read_text()
    declared = {
        tuple(line.rstrip(";").replace("optional ", "").replace("repeated ", "").split()[1::2])
        for line in (raw.strip() for raw in source.splitlines())
        if line.endswith(";") and " = " in line and not line.startswith(("syntax", "//"))
    }
    generated = descriptor_pb2.FileDescriptorProto()
    pb.DESCRIPTOR.CopyToProto(generated)
    fields = {
        (field.name, str(field.number))
        for message in generated.message_type
        for field in message.field
    }
    enum_values = {value.name for enum in generated.enum_type for value in enum.value}

    assert fields <= declared
    assert enum_values == set(re.findall(r"^  ([A-Z_]+) = \d+;", source, re.MULTILINE))


def test_the_wire_module_can_be_imported_beside_the_sdks_own() -> None:
    """Two files that define one symbol fail at import."""
    pytest.importorskip("inngest.connect")

    assert pb.DESCRIPTOR.package == "inngest_connect.v1"


def test_hello_is_a_message_of_no_bytes() -> None:
    assert pb.ConnectMessage(kind=pb.GatewayMessageType.GATEWAY_HELLO).SerializeToString() == b""
