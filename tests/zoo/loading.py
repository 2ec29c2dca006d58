"""How bundles start, and where their weights lie."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from tests.zoo.bundles import CHECKPOINT, Shape, shape


@shape
def checkpoint_loader_with_an_id() -> Shape:
    made = Shape()
    made.config["checkpointloader"] = dict(CHECKPOINT)
    made.config["handlers"] = [{"_target_": "StatsHandler", "iteration_log": False}]
    made.config["run"] = ["$@checkpointloader(@evaluator)", "$@evaluator.run()"]
    return made


@shape
def checkpoint_loader_in_initialize() -> Shape:
    made = Shape()
    made.config["checkpointloader"] = CHECKPOINT | {"map_location": "@device"}
    made.config["handlers"] = []
    made.config["initialize"] = ["$monai.utils.set_determinism(seed=123)", "$@checkpointloader(@evaluator)"]
    return made


@shape
def loader_looks_under_a_name_of_its_own() -> Shape:
    made = Shape()
    made.config["handlers"] = [CHECKPOINT | {"load_dict": {"student": "@network"}}]
    made.wrap = lambda state: {"student": state, "epoch": 3}
    return made


@shape
def without_run() -> Shape:
    made = Shape()
    del made.config["run"], made.config["initialize"]
    return made


@shape
def run_with_commands() -> Shape:
    made = Shape()
    made.config["run"] = ["$setattr(@inferer, 'overlap', 0.25)", "$@evaluator.run()", "$print('done')"]
    return made


@shape
def evaluating_instead_of_run() -> Shape:
    made = Shape()
    del made.config["run"], made.config["initialize"]
    made.config["evaluating"] = ["$setattr(torch.backends.cudnn, 'benchmark', True)", "$@evaluator.run()"]
    return made


@shape
def cuda_written_out() -> Shape:
    made = Shape()
    made.config["device"] = "$torch.device('cuda')"
    made.config["where"] = "$torch.device('cuda:0')"
    made.config["network"] = "$@network_def.to(@where)"
    made.config["inferer"] |= {"sw_device": "cuda:0", "device": "$torch.device(f'cuda:{0}')"}
    made.preprocessing[5]["device"] = "cuda"
    made.config["handlers"] = [CHECKPOINT | {"map_location": "$torch.device('cuda:0')"}]
    cpu = {"device": "cpu", "where": "cpu", "inferer#sw_device": "cpu", "inferer#device": "cpu"}
    made.stock = cpu | {"preprocessing#transforms#5#device": "cpu", "handlers#0#map_location": "cpu"}
    return made


@shape
def weights_under_another_name() -> Shape:
    made = Shape(weights="models/fine_tuned.pt")
    made.config["handlers"] = [CHECKPOINT | {"load_path": "$@bundle_root + '/models/fine_tuned.pt'"}]
    return made


@shape
def weights_wrapped_twice() -> Shape:
    return Shape(wrap=lambda state: {"network": {"state_dict": state}, "best": 0.9}, stock_network=True)


@shape
def weights_of_parallel_training() -> Shape:
    wrap: Callable[[Any], Any] = lambda state: {"state_dict": {f"module.{key}": value for key, value in state.items()}}  # noqa: E731
    return Shape(wrap=wrap, stock_network=True)


@shape
def safetensors() -> Shape:
    return Shape(weights="models/model.safetensors", stock_network=True)


@shape
def weights_of_another_network() -> Shape:
    return Shape(wrap=lambda state: dict(list(state.items())[1:]), refused="lacks 1 of the network's")


@shape
def weights_with_more_than_the_network() -> Shape:
    return Shape(wrap=lambda state: state | {"head.weight": state["model.0.conv.weight"]}, refused="does not have")


@shape
def weights_of_another_size() -> Shape:
    return Shape(
        wrap=lambda state: state | {"model.0.conv.weight": torch.zeros(8, 1, 3, 3, 3)}, refused="has the shape"
    )


@shape
def weights_that_are_a_program() -> Shape:
    return Shape(wrap=lambda state: {"model": state, "made": Shape}, refused="holds more than tensors")


@shape
def torchscript_with_a_configuration() -> Shape:
    made = Shape(weights="models/model.ts")
    made.config["network"] = "$torch.jit.load(@bundle_root + '/models/model.ts', map_location=@device)"
    made.config["handlers"] = []
    return made


@shape
def torchscript_alone() -> Shape:
    return Shape(weights="models/model.ts", config_file="models/model.ts", stock_network=True)


@shape
def no_evaluator() -> Shape:
    made = Shape(refused="has no `evaluator`")
    made.config["evaluator"] = {}
    return made
