package ui

import (
	"fmt"
	"math"
	"strconv"
	"strings"
)

// Words says what the page says in the language of the person who reads it.
type Words struct{ chinese bool }

// NewWords picks the language that fits a browser's language tag such as "zh-CN"; English where none does.
func NewWords(tag string) *Words {
	return &Words{chinese: tag == "zh" || strings.HasPrefix(strings.ToLower(tag), "zh-")}
}

// Lang is the language tag for the document.
func (w *Words) Lang() string {
	if w.chinese {
		return "zh"
	}
	return "en"
}

// Has reports whether the catalogue has the key.
func (w *Words) Has(key string) bool {
	_, ok := catalogue[key]
	return ok
}

// T is say as content of the page.
func (w *Words) T(key string, pairs ...any) Text { return Text(w.say(key, pairs...)) }

// say is the text of a key with its {names} filled in from pairs of name and value. A key that is not in the
// catalogue is its own text.
func (w *Words) say(key string, pairs ...any) string {
	entry, ok := catalogue[key]
	if !ok {
		return key
	}
	text := entry.en
	if w.chinese {
		text = entry.zh
	}
	if len(pairs) == 0 {
		return text
	}
	fill := make([]string, 0, len(pairs))
	for i := 0; i+1 < len(pairs); i += 2 {
		fill = append(fill, fmt.Sprintf("{%v}", pairs[i]), fmt.Sprint(pairs[i+1]))
	}
	return strings.NewReplacer(fill...).Replace(text)
}

// Text is text for the page's content, of any origin.
type Text string

// HTML implements vugu.HTMLer. All but ASCII is written as character references: vugu hands content over in pieces
// that it cuts at any byte, also within a character.
func (t Text) HTML() string {
	var b strings.Builder
	for _, r := range string(t) {
		if r >= 0x80 || strings.ContainsRune("<>&\"'", r) {
			fmt.Fprintf(&b, "&#%d;", r)
		} else {
			b.WriteRune(r)
		}
	}
	return b.String()
}

// Duration spells a time in seconds with its two largest units.
func (w *Words) Duration(seconds float64) string {
	if !(seconds >= 0 && seconds < 1e7) { // 115 days: not a forecast any more
		return "–"
	}
	s := int(math.Ceil(seconds))
	switch {
	case s < 60:
		return w.say("time.seconds", "s", s)
	case s < 3600:
		return w.say("time.minutes", "m", s/60, "s", s%60)
	default:
		return w.say("time.hours", "h", s/3600, "m", s%3600/60)
	}
}

// Bytes spells a size in the unit that suits it.
func Bytes(n int64) string {
	v := float64(n)
	for _, unit := range []string{"B", "kB", "MB"} {
		if v < 999.5 {
			return number(v) + " " + unit
		}
		v /= 1000
	}
	return number(v) + " GB"
}

// number spells a value with three figures, and without a fraction where that says nothing.
func number(v float64) string {
	switch {
	case v == math.Trunc(v) || v >= 99.95:
		return strconv.FormatFloat(v, 'f', 0, 64)
	case v >= 9.995:
		return strconv.FormatFloat(v, 'f', 1, 64)
	default:
		return strconv.FormatFloat(v, 'f', 2, 64)
	}
}

// catalogue holds every text of the page. Texts of one kind share a prefix: phase.*, failed.* and event.* are
// looked up by what the engine says, and the engine's own words stand in for those that are missing.
var catalogue = map[string]struct{ en, zh string }{
	"tagline":  {"Fine-tune a language model in this tab.", "在这个标签页里微调语言模型。"},
	"private":  {"Your model and data stay on this computer: nothing is sent anywhere.", "模型和数据都留在这台电脑上，不会发送到任何地方。"},
	"language": {"中文", "English"},
	"licenses": {"Licences", "许可证"},

	"setup":           {"Prepare", "准备"},
	"model":           {"Model", "模型"},
	"model.choose":    {"Choose a model folder", "选择模型文件夹"},
	"model.hint":      {"or drop it here. A Llama model as from Hugging Face: config.json, tokenizer.json, *.safetensors", "或拖放到这里。Hugging Face 格式的 Llama 模型：config.json、tokenizer.json、*.safetensors"},
	"model.missing":   {"This folder has no {file}: choose the folder that holds it.", "该文件夹中没有 {file}：请选择包含它的文件夹。"},
	"model.tokenless": {"No tokenizer.json: only data that already consists of token ids can be used.", "没有 tokenizer.json：只能使用已经是词元编号的数据。"},
	"model.first":     {"Choose a model folder first.", "请先选择模型文件夹。"},
	"data":            {"Data", "数据"},
	"data.choose":     {"Choose a data file", "选择数据文件"},
	"data.hint":       {"or drop it here. JSON Lines (instruction and output, prompt and completion, text) or plain text", "或拖放到这里。JSON Lines（instruction 与 output、prompt 与 completion、text）或纯文本"},
	"data.many":       {"These are {n} files: choose one.", "共有 {n} 个文件：请只选择一个。"},
	"data.empty":      {"{file} is empty: choose another file.", "{file} 是空文件：请选择其他文件。"},
	"data.first":      {"Choose a data file first.", "请先选择数据文件。"},
	"chosen":          {"{name} · {size}", "{name} · {size}"},
	"method":          {"Method", "方法"},
	"lora":            {"LoRA", "LoRA"},
	"lora.about":      {"trains a small adapter beside the model: quick, little memory", "在模型旁训练一个小适配器：快，占用内存少"},
	"full":            {"Full", "全量"},
	"full.about":      {"trains every weight: needs several times the model's size in memory", "训练全部权重：需要数倍于模型大小的内存"},
	"max-steps":       {"Steps", "步数"},
	"learning-rate":   {"Learning rate", "学习率"},
	"more":            {"More settings", "更多设置"},
	"batch-size":      {"Batch size", "批大小"},
	"max-length":      {"Longest row, in tokens", "每行最多词元数"},
	"rank":            {"LoRA rank r", "LoRA 秩 r"},
	"alpha":           {"LoRA alpha", "LoRA alpha"},
	"setting.bad":     {"{name}: {value} is not a number that can be used.", "{name}：{value} 不是可用的数值。"},
	"start":           {"Start training", "开始训练"},

	"run":           {"Training", "训练"},
	"pause":         {"Pause", "暂停"},
	"resume":        {"Resume", "继续"},
	"stop":          {"Stop and save", "停止并保存"},
	"step":          {"Step", "步"},
	"step.of":       {"{step} / {total}", "{step} / {total}"},
	"loss":          {"Loss", "损失"},
	"smooth":        {"Smoothed", "平滑"},
	"speed":         {"Tokens per second", "词元/秒"},
	"left":          {"Time left", "剩余时间"},
	"progress":      {"Progress", "进度"},
	"chart":         {"Loss by step, from {first} to {last}", "各步的损失，从 {first} 到 {last}"},
	"events":        {"Messages", "消息"},
	"event.at":      {" (step {step})", "（第 {step} 步）"},
	"level.info":    {"Note", "提示"},
	"level.warning": {"Warning", "警告"},
	"level.error":   {"Error", "错误"},
	"download":      {"Download the result", "下载结果"},
	"download.size": {"{n} files, {size}, as a zip", "共 {n} 个文件，{size}，zip 格式"},
	"download.work": {"Packing…", "正在打包…"},

	"status.idle":     {"Choose a model and data, then start.", "选择模型和数据，然后开始。"},
	"status.ready":    {"Ready to start.", "可以开始。"},
	"status.starting": {"Starting the engine", "正在启动引擎"},
	"status.training": {"Training: step {step} of {total}, loss {loss}.", "训练中：第 {step} 步，共 {total} 步，损失 {loss}。"},
	"status.pausing":  {"Paused; the step under way is being finished.", "已暂停；正在完成当前这一步。"},
	"status.paused":   {"Paused after step {step}.", "已在第 {step} 步后暂停。"},
	"status.stopping": {"Stopping: the step under way is finished and the result saved.", "正在停止：完成当前这一步并保存结果。"},
	"status.done":     {"Done: {step} steps, loss {loss}. The result is ready to download.", "完成：共 {step} 步，损失 {loss}。可以下载结果。"},
	"status.stopped":  {"Stopped after step {step}. What was trained is ready to download.", "已在第 {step} 步后停止。可以下载训练所得。"},
	"status.ended":    {"Stopped before the first step: there is nothing to save.", "在第一步之前已停止：没有可保存的内容。"},
	"status.failed":   {"The run ended at step {step}.", "训练在第 {step} 步结束。"},
	"status.unbegun":  {"The run has not begun.", "训练未能开始。"},
	"status.nan":      {"not a number", "非数值"},
	"amount":          {"{done} of {total}", "{done} / {total}"},
	"eta":             {"about {time} left", "约剩 {time}"},
	"time.seconds":    {"{s} s", "{s} 秒"},
	"time.minutes":    {"{m} min {s} s", "{m} 分 {s} 秒"},
	"time.hours":      {"{h} h {m} min", "{h} 小时 {m} 分"},

	"phase.open":    {"Opening the GPU", "正在打开 GPU"},
	"phase.load":    {"Loading the model", "正在加载模型"},
	"phase.data":    {"Reading the data", "正在读取数据"},
	"phase.compile": {"Compiling the GPU programs", "正在编译 GPU 程序"},
	"phase.tune":    {"Choosing the fastest GPU programs", "正在挑选最快的 GPU 程序"},
	"phase.train":   {"Training", "训练中"},
	"phase.eval":    {"Evaluating", "正在评估"},
	"phase.logits":  {"Computing logits", "正在计算 logits"},
	"phase.merge":   {"Merging the adapter", "正在合并适配器"},
	"phase.save":    {"Saving", "正在保存"},

	"failed":                {"The run failed.", "训练失败。"},
	"failed.config":         {"A setting cannot be used.", "有设置不可用。"},
	"failed.data":           {"The data cannot be used.", "数据无法使用。"},
	"failed.tokenizer":      {"The tokenizer cannot be used.", "分词器无法使用。"},
	"failed.weights":        {"The model's weights cannot be read.", "无法读取模型权重。"},
	"failed.output":         {"The result could not be written.", "无法写入结果。"},
	"failed.nonfinite":      {"The loss is not a number any more.", "损失已不是数值。"},
	"failed.model":          {"The model cannot be used.", "模型无法使用。"},
	"failed.does_not_fit":   {"The run does not fit into the GPU's memory.", "GPU 内存不足。"},
	"failed.out_of_memory":  {"The GPU's memory is full.", "GPU 内存已满。"},
	"failed.device_lost":    {"The GPU was lost.", "GPU 已丢失。"},
	"failed.no_adapter":     {"The browser offers no GPU.", "浏览器没有提供 GPU。"},
	"failed.engine_crashed": {"The engine crashed.", "引擎崩溃。"},
	"failed.engine_ended":   {"The engine ended too early.", "引擎提前结束。"},
	"failed.next":           {"What to do:", "怎么办："},
	"failed.reload":         {"reload the page and start again; if it happens again, please report this text", "重新加载页面后再试；如果再次发生，请报告这段文字"},

	"event.nonfinite_step_skipped": {"A step gave a loss or gradient that is not a number and was skipped.", "有一步的损失或梯度不是数值，已跳过。"},
	"event.loss_spike":             {"The loss has jumped.", "损失突然升高。"},
	"event.packing_failed":         {"The result could not be packed.", "无法打包结果。"},
	"event.step_without_tokens":    {"A step had nothing to train on.", "有一步没有可训练的内容。"},
	"event.checkpoint_not_removed": {"An old checkpoint could not be removed.", "无法删除旧的检查点。"},
	"event.kernel_variant_dropped": {"A GPU program did not work here and is not used.", "有一个 GPU 程序在此不可用，已弃用。"},
	"event.paused":                 {"Paused.", "已暂停。"},
	"event.continued":              {"Resumed.", "已继续。"},
	"event.stopped":                {"Stopped.", "已停止。"},
	"event.device_lost":            {"The GPU was reset.", "GPU 已重置。"},
}
