package ui

// pageTexts are the texts of what all screens share, and the first screen.
var pageTexts = texts{
	"comma":      {", ", "、"}, // between the names of a list
	"copy":       {"Copy", "复制"},
	"details":    {"Details", "详情"},
	"guide":      {"How tabs share a model (FSDP)", "标签页如何分担模型（FSDP）"},
	"guide_page": {"/docs/fsdp.html", "/docs/fsdp.zh.html"},
	"docs":       {"Documentation", "文档"},
	"licenses":   {"Licences", "许可证"},
	"private":    {"Your model and data stay on this computer: nothing is sent anywhere.", "模型和数据都留在这台电脑上，不会发送到任何地方。"},
	"tagline":    {"Fine-tune a language model in this tab.", "在这个标签页里微调语言模型。"},

	"gpu":          {"GPU", "GPU"},
	"gpu.software": {"Software GPU: slow", "软件 GPU：较慢"},

	"home.empty":   {"Nothing yet. Runs stay in this browser, with their checkpoints, until you remove them.", "还没有。训练及其检查点会留在此浏览器中，直到你删除。"},
	"home.none":    {"This server offers no ready-made runs: start in the studio with a model and data of yours.", "此服务器没有现成的训练：请在工作室中用自己的模型和数据开始。"},
	"home.open":    {"Look at it", "查看"},
	"home.own":     {"Fine-tune your own", "微调你自己的模型"},
	"home.recent":  {"Recent runs", "最近的训练"},
	"home.remove":  {"Remove", "删除"},
	"home.resume":  {"Resume", "继续"},
	"home.run":     {"step {step} of {total} · {size}", "第 {step} 步，共 {total} 步 · {size}"},
	"home.storage": {"This browser keeps {used} of at most {quota}.", "此浏览器保存了 {used}，上限 {quota}。"},
	"home.sure":    {"Really remove?", "确定删除？"},
	"home.title":   {"Teach a model something new", "教模型一点新东西"},
	"home.try":     {"Try it", "试一试"},

	"keys":        {"Keyboard shortcuts", "键盘快捷键"},
	"keys.chart":  {"move along a chart", "沿图表移动"},
	"keys.go":     {"home, studio, run, try, export, room", "首页、工作室、训练、试用、导出、房间"},
	"keys.on":     {"Shortcuts of a single key", "启用单键快捷键"},
	"keys.pause":  {"pause and resume", "暂停与继续"},
	"keys.prompt": {"write a prompt", "填写提示"},
	"keys.single": {"take a single step", "单步"},

	"language":     {"中文", "English"},
	"language.tag": {"zh", "en"},

	"nav":        {"Screens", "页面"},
	"nav.export": {"Export", "导出"},
	"nav.home":   {"Home", "首页"},
	"nav.room":   {"Room", "房间"},
	"nav.run":    {"Run", "训练"},
	"nav.studio": {"Studio", "工作室"},
	"nav.try":    {"Try", "试用"},

	"theme":       {"Light or dark", "明暗主题"},
	"theme.auto":  {"Auto", "自动"},
	"theme.dark":  {"Dark", "深色"},
	"theme.light": {"Light", "浅色"},

	"time.hours":   {"{h} h {m} min", "{h} 小时 {m} 分"},
	"time.minutes": {"{m} min {s} s", "{m} 分 {s} 秒"},
	"time.seconds": {"{s} s", "{s} 秒"},
}
