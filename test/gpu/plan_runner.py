"""Runs a plan (plans/*.json of an artifact) on the GPU with buffers that the caller gives."""

import json

from cuda_driver import Launch


class Plan:
    def __init__(self, device, module, path):
        self.device, self.module = device, module
        self.plan = json.loads(path.read_text())
        self.arena = device.allocate(self.plan["arena_bytes"])
        self.arena_bytes = self.plan["arena_bytes"]

    def output_bytes(self):
        return {b["name"]: b["bytes"] for b in self.plan["buffers"] if b["kind"] == "output"}

    def weights(self):
        """Name and type of the weights."""
        return {b["name"]: b["dtype"] for b in self.plan["buffers"] if b["kind"] == "weight"}

    def bind(self, inputs, outputs, state, weights=None):
        """Launches of the plan's steps; the arguments map names to device pointers."""

        def pointer(buffer):
            if buffer["kind"] == "arena":
                return self.arena + buffer["offset"]
            places = {"input": inputs, "output": outputs, "state": state, "weight": weights}
            return places[buffer["kind"]][buffer["name"]]

        pointers = [pointer(buffer) for buffer in self.plan["buffers"]]
        launches = []
        for step in self.plan["steps"]:
            launches.append(
                Launch(
                    self.module.function(step["kernel"]),
                    [pointers[i] for i in step["args"]],
                    step["grid"],
                    step["block"],
                    step["cluster"],
                    step["shared"],
                    step["dependent"],
                )
            )
        return launches

    def poison(self):
        """NaN in all scratch memory: no kernel may read what none has written."""
        self.device.fill(self.arena, 0xFF, self.arena_bytes)

    def free(self):
        self.device.free(self.arena)
