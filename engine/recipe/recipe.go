// Package recipe holds practice advice as runs: parts of a run.json with the reason for each, in English and Chinese. It
// is no part of the engine in the browser, where the texts would cost everybody who loads the page.
package recipe

import (
	"encoding/json"
	"fmt"
	"strings"

	"llamatab/engine/config"
	"llamatab/engine/message"
)

// All are what llamatab train --recipe and the page offer.
var All = []message.Recipe{
	{
		Name:  "lora-first",
		Title: message.Both("Try small with LoRA first", "先用 LoRA 小试"),
		Why: message.Both(
			"Before spending hours, spend minutes: a LoRA adapter on all linear layers for 100 steps shows whether the data and its format teach what they should. It trains well under a hundredth of the weights, so it is hard to break the model with it, it leaves the base as it was, and its learning rate may be ten times that of full fine-tuning. If the held-out loss falls, give it more steps or a larger rank; if it does not, look at the data, not at the method.",
			"先花几分钟，再花几小时：在所有线性层上用 LoRA 训练 100 步，就能看出数据和格式是否教得对。它只训练不到百分之一的权重，很难把模型练坏，基座保持原样，学习率可以是全量微调的十倍。如果留出集的损失下降，就增加步数或秩；如果不降，该检查的是数据，而不是方法。",
		),
		Config: fragment(map[string]any{
			"peft":    map[string]any{"peft_type": "LORA", "r": 8, "lora_alpha": 16, "lora_dropout": 0.05, "target_modules": "all-linear"},
			"dataset": map[string]any{"validation_split": 0.05},
			"training": map[string]any{
				"learning_rate": 2e-4, "lr_scheduler_type": "cosine", "warmup_steps": 10, "max_steps": 100, "eval_steps": 25,
			},
		}),
	},
	{
		Name:  "head-only",
		Title: message.Both("Only the output head", "只训练输出头"),
		Why: message.Both(
			"Train the output head and the final norm, and nothing below. No gradient goes through the blocks, so a step costs little more than reading the data, and what the model knows stays where it is. That is enough to shift vocabulary and style, not to learn a new skill. A tied model is untied for it: the embedding stays, the head is saved as a matrix of its own.",
			"只训练输出头和最后的归一化层，下面都不动。梯度不经过各个块，所以每一步只比读一遍数据略贵，模型已有的知识原封不动。这足以改变用词和风格，但学不会新技能。共享权重的模型会先解绑：词嵌入不变，输出头另存为一个矩阵。",
		),
		Config: fragment(map[string]any{
			"trainable": []string{config.LMHead, config.Norm},
			"dataset":   map[string]any{"validation_split": 0.05},
			"training":  map[string]any{"learning_rate": 1e-3, "lr_scheduler_type": "cosine", "warmup_steps": 10, "max_steps": 200, "eval_steps": 50},
		}),
	},
	{
		Name:  "unfreeze-step-by-step",
		Title: message.Both("Unfreeze step by step", "逐步解冻"),
		Why: message.Both(
			"A new task sends large gradients down at first, because the head is still wrong about it; they would wash out what the lower layers know. So let the head settle, then thaw the last block, then the one below. What already trains keeps its optimizer state, what is new starts with its own. Lower blocks learn slower (layer_lr_decay), as what they hold is more general. Good for little data and a model that must not forget.",
			"刚开始学新任务时，输出头还不对，会向下传很大的梯度，冲掉底层已有的知识。所以先让输出头稳定，再解冻最后一块，然后是它下面的一块。已经在训练的部分保留优化器状态，新加入的从自己的零状态开始。越低的块学得越慢（layer_lr_decay），因为它们更通用。适合数据少、又不能遗忘的情形。",
		),
		Config: fragment(map[string]any{
			"unfreeze": config.FromTheHead(2, 50),
			"dataset":  map[string]any{"validation_split": 0.05},
			"training": map[string]any{
				"learning_rate": 5e-4, "layer_lr_decay": 0.8, "lr_scheduler_type": "cosine", "warmup_steps": 10, "max_steps": 200, "eval_steps": 50,
			},
		}),
	},
	{
		Name:  "hybrid",
		Title: message.Both("An adapter, and a few whole layers", "适配器加少数完整层"),
		Why: message.Both(
			"LoRA changes every layer a little, the last block and the final norm may change as much as they like. That is for tasks whose output looks unlike anything the model has written, where LoRA alone levels off: the top learns the new form, the adapter bends what leads there. Everything that trained lies in the adapter's folder, as PEFT's modules_to_save, so the folder alone reproduces the run.",
			"LoRA 让每一层改变一点，最后一块和最后的归一化层则可以随意改变。适合输出形式与模型以往所写全然不同、单用 LoRA 会停滞的任务：顶层学新的形式，适配器把通向它的路弯过去。训练过的一切都在适配器文件夹里（PEFT 的 modules_to_save），单凭这个文件夹就能重现结果。",
		),
		Config: fragment(map[string]any{
			"peft":      map[string]any{"peft_type": "LORA", "r": 8, "lora_alpha": 16, "target_modules": []string{"q_proj", "v_proj"}},
			"trainable": []string{"layers:last:1", config.Norm},
			"dataset":   map[string]any{"validation_split": 0.05},
			"training":  map[string]any{"learning_rate": 2e-4, "lr_scheduler_type": "cosine", "warmup_steps": 10, "max_steps": 200, "eval_steps": 50},
		}),
	},
	{
		Name:  "full",
		Title: message.Both("All weights", "全部权重"),
		Why: message.Both(
			"Train everything: the most that data can teach, at 16 bytes a parameter for weight, gradient and AdamW's two moments. Worth it where there is much data, or a language or domain that the model has hardly seen. Take a tenth of LoRA's learning rate, warm up, and watch the held-out loss, since a full model overfits small data within an epoch or two. Activations are recomputed in as many blocks as the memory budget asks for.",
			"训练全部参数：数据能教的都能学到，代价是每个参数 16 字节（权重、梯度和 AdamW 的两个动量）。适合数据很多，或模型几乎没见过的语言和领域。学习率取 LoRA 的十分之一，要预热，并盯住留出集的损失，因为数据少时一两轮就会过拟合。需要多省内存，就在多少个块里重算激活。",
		),
		Config: fragment(map[string]any{
			"trainable": []string{config.All},
			"dataset":   map[string]any{"validation_split": 0.05},
			"training": map[string]any{
				"learning_rate": 2e-5, "lr_scheduler_type": "cosine", "warmup_steps": 20, "max_steps": 500, "eval_steps": 100, "gradient_checkpointing": "auto",
			},
		}),
	},
	{
		Name:  "classify",
		Title: message.Both("Tell classes of texts apart", "文本分类"),
		Why: message.Both(
			"Rows of a text and a label; a head over the labels reads the last token of each text, and LoRA lets the trunk look for what matters. The head starts at random, so the rate is higher than for a language model. Accuracy and macro F1 on the held-out rows say when it is good: the best evaluation is kept, and three without improvement end the run.",
			"每行是一段文本和一个标签；分类头读每段文本的最后一个词元，LoRA 让主干学会找重点。分类头从随机值开始，所以学习率比语言模型高。留出行上的准确率和宏平均 F1 说明好坏：保留最好的一次评估，连续三次没有进步就结束。",
		),
		Config: fragment(map[string]any{
			"peft":    map[string]any{"peft_type": "LORA", "task_type": config.SeqCls, "r": 8, "lora_alpha": 16, "target_modules": "all-linear"},
			"dataset": map[string]any{"format": "classification", "validation_split": 0.1},
			"training": map[string]any{
				"learning_rate": 1e-3, "lr_scheduler_type": "cosine", "warmup_steps": 10, "max_steps": 300, "eval_steps": 25,
				"early_stopping_patience": 3, "load_best_model_at_end": true,
			},
		}),
	},
}

func fragment(keys map[string]any) json.RawMessage {
	raw, err := json.Marshal(keys)
	if err != nil {
		panic(err) // a fault of ours
	}
	return raw
}

// Parse is config.ParseWithSets over a recipe: what data says goes before what the recipe says, key by key, and sets before
// both. An adapter with a type of its own replaces the recipe's whole. "" is no recipe.
func Parse(data []byte, file, name string, sets []string) (*config.Config, error) {
	if name == "" {
		return config.ParseWithSets(data, file, sets)
	}
	var names []string
	for _, r := range All {
		if r.Name == name {
			return config.ParseOver(data, file, r.Config, sets)
		}
		names = append(names, r.Name)
	}
	return nil, &config.Error{Path: "recipe", Message: fmt.Sprintf("%q is not one of %s", name, strings.Join(names, ", "))}
}
