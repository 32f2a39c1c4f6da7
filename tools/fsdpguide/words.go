package main

import (
	"fmt"
	"strconv"
	"strings"
)

// words are the texts of the pictures in a language.
type words map[string]string

var languages = map[string]words{
	"en": {
		"NO_SHARD": "NO_SHARD (DDP)", "SHARD_GRAD_OP": "SHARD_GRAD_OP", "FULL_SHARD": "FULL_SHARD",
		"tab": "tab %d", "slot": "micro-batch %d", "embed": "embedding", "block": "block %s", "head": "norm, head",
		"weights": "parameters", "gradients": "gradients", "optimizer": "AdamW's moments",
		"up": "sent", "down": "received", "formula": "by the formula",
		"publish": "own parameters go", "gather": "parameters come", "forward": "forward", "backward": "backward", "compute": "forward and backward", "pack": "gradients are rounded and read",
		"send": "gradients go", "reduced": "sum of gradients comes", "apply": "AdamW",
		"holds.title": "What each tab holds of every unit", "holds.text": "Under DDP every tab holds all of every unit; under FULL_SHARD each unit is cut into as many parts as there are tabs.",
		"memory.title": "Bytes on the GPU of one tab", "memory.text": "Parameters, gradients and moments of one tab under each strategy, as measured.",
		"moves.title": "Bytes that one tab sends and receives in a step", "moves.text": "As measured, with a mark where the formula puts it.",
		"step.title": "One step under %s", "step.text": "A lane for each tab: above what its GPU does, below what passes the network.",
	},
	"zh": {
		"NO_SHARD": "NO_SHARD（DDP）", "SHARD_GRAD_OP": "SHARD_GRAD_OP", "FULL_SHARD": "FULL_SHARD",
		"tab": "标签页 %d", "slot": "微批次 %d", "embed": "词嵌入", "block": "第 %s 层", "head": "归一化与输出",
		"weights": "参数", "gradients": "梯度", "optimizer": "AdamW 的动量",
		"up": "发送", "down": "接收", "formula": "公式的值",
		"publish": "发出自己的参数", "gather": "取来参数", "forward": "前向", "backward": "反向", "compute": "前向与反向", "pack": "舍入并读出梯度",
		"send": "发出梯度", "reduced": "收到梯度之和", "apply": "AdamW",
		"holds.title": "每个标签页保存各单元的哪一部分", "holds.text": "DDP 下每个标签页都保存所有单元的全部；FULL_SHARD 下每个单元按标签页数切成几份。",
		"memory.title": "一个标签页在 GPU 上占用的字节数", "memory.text": "各策略下一个标签页的参数、梯度与动量，均为实测。",
		"moves.title": "一个标签页每一步发送和接收的字节数", "moves.text": "均为实测，竖线是公式给出的值。",
		"step.title": "%s 下的一步", "step.text": "每个标签页一行：上面是 GPU 在做的事，下面是经过网络的数据。",
	},
}

func (w words) tab(i int) string { return fmt.Sprintf(w["tab"], i+1) }

// unit is the name of a unit of the model.
func (w words) unit(name string) string {
	if n, ok := strings.CutPrefix(name, "block "); ok {
		if i, err := strconv.Atoi(n); err == nil {
			n = strconv.Itoa(i + 1)
		}
		return fmt.Sprintf(w["block"], n)
	}
	if text, ok := w[name]; ok {
		return text
	}
	return name
}

// bytes formats a number of bytes.
func (w words) bytes(n float64) string {
	if n >= 1e6 {
		return fmt.Sprintf("%.2f MB", n/1e6)
	}
	return fmt.Sprintf("%.0f kB", n/1e3)
}
