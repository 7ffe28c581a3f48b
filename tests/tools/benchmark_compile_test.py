import importlib.util
from collections import Counter

import pytest

from tools.benchmark import compile as compile_part
from tools.benchmark.launches import Counts, count
from wsign_jax.common.errors import WSignError

# Cut from what XLA made for an A100; the second loop is as XLA writes it for a TPU.
PROGRAM = """HloModule jit_step, is_scheduled=true

%fused_dot (param_0: f32[4,2], param_1: f32[2,3]) -> f32[4,3] {
  %param_0 = f32[4,2]{1,0} parameter(0)
  %param_1 = f32[2,3]{1,0} parameter(1)
  ROOT %dot.1 = f32[4,3]{1,0} dot(%param_0, %param_1), lhs_contracting_dims={1}
}

%body (arg_tuple: (s32[], f32[4,2], /*index=2*/f32[2,3])) -> (s32[], f32[4,2], f32[2,3]) {
  %arg_tuple = (s32[], f32[4,2]{1,0}, /*index=2*/f32[2,3]{1,0}) parameter(0)
  %get-tuple-element.1 = f32[4,2]{1,0} get-tuple-element(%arg_tuple), index=1
  %get-tuple-element.2 = f32[2,3]{1,0} get-tuple-element(%arg_tuple), index=2
  %fusion.1 = f32[4,3]{1,0:T(8,128)} fusion(%a, %b), calls=%fused_dot, bc={"estimated_cycles":"100"}
  %copy-start.1 = (f32[4,2]{1,0:T(8,128)S(1)}, u32[]{:S(2)}) copy-start(%get-tuple-element.1)
  %copy-done.1 = f32[4,2]{1,0:T(8,128)S(1)} copy-done(%copy-start.1)
  ROOT %tuple.1 = (s32[], f32[4,2]{1,0}, f32[2,3]{1,0}) tuple(%get-tuple-element.1, %copy-done.1)
}

%condition (arg_tuple.1: (s32[], f32[4,2], f32[2,3])) -> pred[] {
  %constant.202 = s32[]{:T(128)} constant(15)
  ROOT %lt.35 = pred[]{:T(512)} compare(%get-tuple-element.83, %constant.202), direction=LT
}

ENTRY %main.31 (x: bf16[4,2]) -> f32[4,3] {
  %x = bf16[4,2]{1,0} parameter(0)
  %custom-call.1 = (f32[4,4]{1,0}, s8[419]{0}) custom-call(%x, %x), custom_call_target="__cublas$gemm"
  %while.1 = (s32[], /*index=2*/f32[2,3]{1,0}) while(%t), body=%body, bc={"known_trip_count":{"n":"7"}}
  %while.2 = (s32[]{:T(128)}, f32[2,3]{1,0:T(8,128)S(1)}) while(%t), condition=%condition, body=%body
  ROOT %copy.1 = f32[4,3]{1,0} copy(%custom-call.1), bc={"estimated_cycles":"5"}
}
"""


def test_a_loop_s_kernels_count_by_its_turns_and_a_product_by_what_goes_in():
    found = count(PROGRAM)
    assert found.launches == Counter({"fusion": 22, "copy-start": 22, "custom-call": 1, "copy": 1})
    assert found.products == Counter({"f32": 22, "bf16": 1}) and found.cycles == 2205
    assert found + Counts(cycles=5) == Counts(found.launches, found.products, 2210)


def test_without_a_compiler_a_line_says_how_to_install_it(monkeypatch, command):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(
        WSignError, match="v5e: no compiler for it; install one: pip install libtpu"
    ):
        compile_part.absent_device("v5e")
    status, printed = command("benchmark/compile.py", "--devices=A100,T4")
    assert status == 2 and printed.count("\n") == 1 and "jax-cuda12-plugin==" in printed
