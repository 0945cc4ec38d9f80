"""The extension of JupyterLab: its texts come from the portal, and it is complete without it."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "jupyter" / "labextension" / "static" / "remoteEntry.js"
# Loads the extension as JupyterLab does, with the portal's answer in place of the network.
HARNESS = """
const fs = require('fs');
const vm = require('vm');
const [script, answer] = process.argv.slice(1);
const asked = [];
const commands = {};
const window = { location: { hash: '', pathname: '/' } };
const fetch = async (address) => {
  asked.push(address);
  if (answer === 'away') throw new TypeError('network');
  return { ok: answer !== 'broken', json: async () => JSON.parse(answer) };
};
const context = { window, fetch, URLSearchParams, AbortController, setTimeout, clearTimeout, URL };
vm.runInNewContext(fs.readFileSync(script, 'utf8'), context);
const module = { LabIcon: class { constructor(options) { Object.assign(this, options); } } };
const shared = new Proxy({}, { get: () => ({ '1.0.0': { get: async () => () => module } }) });
const app = {
  commands: { addCommand: (id, options) => { commands[id] = options; } },
  contextMenu: { addItem: () => {} },
};
(async () => {
  window._JUPYTERLAB.vixtract.init(shared);
  const factory = await window._JUPYTERLAB.vixtract.get('./extension');
  factory().default.activate(app);
  const labels = Object.fromEntries(Object.entries(commands).map(([id, c]) => [id, [c.label, c.caption]]));
  console.log(JSON.stringify({ asked, labels }));
})();
"""

pytestmark = pytest.mark.skipif(
    not shutil.which("node"), reason="Node is not installed: ./vixtract test lint --yes installs it"
)


def load(answer: str) -> dict:
    """Return the addresses that the extension asked for, and its commands' labels and captions."""
    command = ["node", "-e", HARNESS, str(SCRIPT), answer]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True)
    return json.loads(done.stdout)


def test_texts_are_asked_for_once_and_shown_in_the_readers_language():
    told = load(json.dumps({"Runs": "Запуски", "What ran, and how it ended": "Что запускалось"}))
    (address,) = told["asked"]
    assert address.startswith("/portal/texts?text=Schedules&")
    assert address.count("text=") == 8
    assert told["labels"]["vixtract:runs"] == ["Запуски", "Что запускалось"]
    # What the portal does not know stays English.
    assert told["labels"]["vixtract:schedule-file"][0] == "Schedule…"


@pytest.mark.parametrize("answer", ["away", "broken", "no JSON"])
def test_without_the_portal_everything_is_english(answer):
    labels = load(answer)["labels"]
    assert labels["vixtract:schedules"] == ["Schedules", "When notebooks run by themselves"]
    assert set(labels) == {
        *("vixtract:schedules", "vixtract:runs", "vixtract:home", "vixtract:schedule-file")
    }
