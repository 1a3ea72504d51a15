"""A damaged or foreign artifact is refused with exit code 3 and its reason, and its code is never loaded (R4)."""

import hashlib
import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from road import GQA2, SPARSE_RUN, run

TOKENIZER = '{"version": "1.0"}'


@pytest.fixture(scope="module")
def good(tiny: Callable, compiled: Callable, tmp_path_factory: pytest.TempPathFactory) -> Path:
    tokenizer = tmp_path_factory.mktemp("tokenizer") / "tokenizer.json"
    tokenizer.write_text(TOKENIZER)
    return compiled(tiny(GQA2, 3), f"--tokenizer={tokenizer}")


@pytest.fixture
def artifact(good: Path, tmp_path: Path) -> Path:
    """A copy to damage."""
    return shutil.copytree(good, tmp_path / "model.spx")


def generate(artifact: Path, *options: str) -> subprocess.CompletedProcess:
    return run(SPARSE_RUN, "generate", artifact, "-p", "1,2,3", "-n", "2", *options)


def refused(artifact: Path, reason: str, *options: str) -> None:
    result = generate(artifact, *options)
    assert result.returncode == 3, f"exit code {result.returncode}: {result.stdout} {result.stderr}"
    assert result.stdout == ""
    assert reason in result.stderr


def seal(artifact: Path, manifest: dict) -> None:
    """Writes a manifest whose digest is right."""
    text = json.dumps(manifest | {"digest": "0" * 64}, indent=2)
    digest = hashlib.sha256(text.encode()).hexdigest()
    (artifact / "manifest.json").write_text(text.replace("0" * 64, digest, 1))


def manifest_of(artifact: Path) -> dict:
    return json.loads((artifact / "manifest.json").read_text())


def flip(path: Path, at: int) -> None:
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(data)


SECTIONS = ("plans/cpu/decode_b1.json", "code/x86-64.so", "code/x86-64-v4.so", "weights.safetensors", "tokenizer.json")


def test_the_undamaged_artifact_runs(artifact: Path) -> None:
    assert set(SECTIONS) <= {section["path"] for section in manifest_of(artifact)["sections"]}
    result = generate(artifact)
    assert result.returncode == 0, result.stderr
    assert len(result.stdout.split()) == 2
    seal(artifact, manifest_of(artifact))
    assert generate(artifact).stdout == result.stdout


@pytest.mark.parametrize("where", ["first", "middle", "last"])
@pytest.mark.parametrize("section", SECTIONS)
def test_flipped_bit(section: str, where: str, artifact: Path) -> None:
    size = (artifact / section).stat().st_size
    flip(artifact / section, {"first": 0, "middle": size // 2, "last": size - 1}[where])
    refused(artifact, f"{section} does not match its digest")


def test_flipped_bit_in_the_manifest(artifact: Path) -> None:
    at = (artifact / "manifest.json").read_bytes().index(b'"layers"')
    flip(artifact / "manifest.json", at + 1)
    refused(artifact, "manifest.json: the digest does not match the bytes")


@pytest.mark.parametrize("section", SECTIONS)
def test_truncated_section(section: str, artifact: Path) -> None:
    data = (artifact / section).read_bytes()
    (artifact / section).write_bytes(data[:-1])
    refused(artifact, f"{section} has {len(data) - 1} bytes, the manifest says {len(data)}")


@pytest.mark.parametrize("section", SECTIONS)
def test_truncation_is_seen_without_hashing(section: str, artifact: Path) -> None:
    data = (artifact / section).read_bytes()
    (artifact / section).write_bytes(data[: len(data) // 2])
    refused(artifact, "the manifest says", "--no-verify")


def test_truncated_manifest(artifact: Path) -> None:
    text = (artifact / "manifest.json").read_bytes()
    (artifact / "manifest.json").write_bytes(text[:-2])
    refused(artifact, "manifest.json")


@pytest.mark.parametrize("section", SECTIONS)
def test_missing_section(section: str, artifact: Path) -> None:
    (artifact / section).unlink()
    refused(artifact, section)


def test_newer_schema(artifact: Path) -> None:
    manifest = manifest_of(artifact)
    seal(artifact, manifest | {"schema_version": manifest["schema_version"] + 1})
    refused(artifact, "is newer than")


def test_code_for_another_cpu(artifact: Path) -> None:
    manifest = manifest_of(artifact)
    for target in manifest["devices"]["cpu"]["targets"]:
        target["requires"] = [*target["requires"], "no_such_isa"]
    seal(artifact, manifest)
    refused(artifact, "no target runs on cpu")
    refused(artifact, "no_such_isa")


def test_best_target_that_runs_is_taken(artifact: Path) -> None:
    manifest = manifest_of(artifact)
    *better, baseline = manifest["devices"]["cpu"]["targets"]
    assert better and baseline["name"] == "x86-64"
    for target in better:
        target["requires"] = ["no_such_isa"]
    seal(artifact, manifest)
    assert generate(artifact).returncode == 0
    refused(artifact, "no_such_isa", f"--target={better[0]['name']}")


def test_unknown_target(artifact: Path) -> None:
    refused(artifact, "there is no code for target 'pdp-11'", "--target=pdp-11")


def test_path_out_of_the_artifact(artifact: Path) -> None:
    manifest = manifest_of(artifact)
    shutil.copy(artifact / "weights.safetensors", artifact.parent / "weights.safetensors")
    for section in manifest["sections"]:
        if section["kind"] == "weights":
            section["path"] = "../weights.safetensors"
    seal(artifact, manifest)
    refused(artifact, "not a plain path")


def test_link_out_of_the_artifact(artifact: Path) -> None:
    outside = artifact.parent / "weights.safetensors"
    (artifact / "weights.safetensors").rename(outside)
    (artifact / "weights.safetensors").symlink_to(outside)
    refused(artifact, "weights.safetensors")


def test_folder_without_manifest(tmp_path: Path) -> None:
    refused(tmp_path, "manifest.json")


def test_no_such_folder(tmp_path: Path) -> None:
    refused(tmp_path / "none.spx", "none.spx")


def test_foreign_code_is_not_loaded(artifact: Path) -> None:
    """A library that leaves a trace when it is loaded: none until its digest is in a sealed manifest."""
    trace = artifact.parent / "trace"
    source = artifact.parent / "code.c"
    source.write_text(
        "#include <fcntl.h>\n#include <unistd.h>\n"
        "__attribute__((constructor)) static void loaded(void) { "
        f'close(open("{trace}", O_CREAT | O_WRONLY, 0600)); }}\n'
    )
    library = artifact.parent / "code.so"
    subprocess.run(["cc", "-shared", "-fPIC", "-o", library, source], check=True)
    manifest = manifest_of(artifact)
    for target in manifest["devices"]["cpu"]["targets"]:
        shutil.copy(library, artifact / target["code"])
    refused(artifact, "the manifest says")
    for section in manifest["sections"]:
        if section["kind"] == "code":
            section["bytes"] = library.stat().st_size
    seal(artifact, manifest)
    refused(artifact, "does not match its digest")
    assert not trace.exists()

    for section in manifest["sections"]:
        if section["kind"] == "code":
            section["sha256"] = hashlib.sha256(library.read_bytes()).hexdigest()
    seal(artifact, manifest)
    refused(artifact, "sparse_kernel_abi")
    assert trace.exists()
