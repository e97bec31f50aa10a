"""The settings of `transformers.Trainer` and of DeepSpeed."""

import os
import tempfile
from typing import Any

import torch
from transformers import TrainingArguments as Arguments

from larpo_lib.config import LaunchConfig, TrainingConfig
from larpo_lib.launcher import is_distributed
from larpo_lib.models.device import model_device, model_dtype
from larpo_lib.training.zero import sum_gradients_in, zero_settings

_SERVER = "KUBEFLOW_TRAINER_SERVER_URL"
"""Set in the nodes of a TrainJob where Kubeflow Trainer takes their progress."""


def training_arguments(config: TrainingConfig) -> Arguments:
    """The settings of `transformers.Trainer`, for one batch an optimiser step: this process's part of it.

    Make them before the model is loaded: with ZeRO-3 each process then loads only its part of the weights.

    Weights and optimiser stay in float32; with bfloat16 the forward and backward passes run under autocast, or, under
    DeepSpeed, on bfloat16 copies of the weights.
    """
    on_cpu = model_device(config.model).type == "cpu"
    bf16 = model_dtype(config.model) is torch.bfloat16
    arguments = Arguments(
        output_dir=tempfile.gettempdir(),  # the Trainer makes it, and writes nothing there
        per_device_train_batch_size=1,
        gradient_accumulation_steps=1,
        learning_rate=config.learning_rate,
        lr_scheduler_type=config.schedule,  # `PolicyTrainer` makes them, with the warm-up
        warmup_steps=config.warmup_ratio,
        weight_decay=config.weight_decay,
        max_grad_norm=config.max_grad_norm,
        bf16=bf16,
        gradient_checkpointing=config.gradient_checkpointing,
        gradient_checkpointing_kwargs={"use_reentrant": False},
        ddp_find_unused_parameters=False,
        deepspeed=_deepspeed(config.launch, on_cpu=on_cpu, bf16=bf16),
        logging_steps=1,
        logging_nan_inf_filter=False,
        save_strategy="no",  # checkpoints are the project's own: any number of processes reads them
        seed=config.seed,
        data_seed=config.seed,
        use_cpu=on_cpu,
        ddp_backend="gloo" if on_cpu and is_distributed() else None,
        report_to=["kubeflow"] if _SERVER in os.environ else [],
        disable_tqdm=True,
        remove_unused_columns=False,
        dataloader_pin_memory=False,
        log_level="error",
    )
    arguments._n_gpu = min(arguments.n_gpu, 1)  # never DataParallel, which would cut rows apart
    return arguments


def _deepspeed(launch: LaunchConfig, *, on_cpu: bool, bf16: bool) -> dict[str, Any] | None:
    if launch.launcher != "deepspeed":
        return None
    if on_cpu:
        os.environ["DS_ACCELERATOR"] = "cpu"
        import deepspeed

        # Its collectives over shared memory would be compiled first, for minutes; gloo does.
        deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
    zero = zero_settings(launch.zero_stage, offload=launch.offload, on_gpu=not on_cpu)
    return {
        "train_micro_batch_size_per_gpu": "auto",
        "gradient_accumulation_steps": "auto",
        "gradient_clipping": "auto",
        "bf16": {"enabled": bf16},
        **({"data_types": {"grad_accum_dtype": sum_gradients_in(zero)}} if bf16 else {}),
        "zero_optimization": zero,
        "zero_allow_untested_optimizer": True,
        "zero_force_ds_cpu_optimizer": False,  # its own would be compiled first, and is PyTorch's arithmetic
        "steps_per_print": 10**9,
    }
