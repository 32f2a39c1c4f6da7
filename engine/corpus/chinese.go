package corpus

import "strings"

// The Chinese names of what the English lists name, in their order.
var (
	chineseNames   = strings.Fields("小明 小红 小华 小丽 小龙 小雨 小安 小月")
	chineseAnimals = strings.Fields("猫 狗 兔子 狐狸 熊 老鼠 鸭子 青蛙 猫头鹰 刺猬")
	chinesePlaces  = strings.Fields("森林 花园 村子 河边 山上 农场 海边 公园 湖边 市场")
	chineseThings  = strings.Fields("球 风筝 帽子 书 灯 鼓 船 钥匙 铃铛 杯子")
	chineseColours = strings.Fields("红色 蓝色 绿色 黄色 白色 黑色 金色 紫色")
	chineseFoods   = strings.Fields("苹果 蛋糕 面包 汤 蜂蜜 梨 奶酪 馅饼")
)

var chinesePlots = [][]string{
	{"有一天，{名}在{地方}[找到了|看见了]一个{颜色}的{东西}。", "{名}问{友}：“这是你的{东西}吗？”", "{友}说：“是的，谢谢你！”他们一起[玩了一天|唱歌跳舞]，非常高兴。"},
	{"从前有一只小{动物}，名叫{名}，住在{地方}。", "{名}很孤单，想找一个朋友。{友}来了，说：“我们一起玩吧！”", "他们一起吃{食物}，成了好朋友。"},
	{"{名}有一个{颜色}的{东西}，{名}很喜欢它。", "一天，{名}把{东西}带到{地方}，可是{东西}[坏了|不见了]。", "{名}坐下来哭了。{友}说：“别难过，我帮你。”"},
	{"天黑了，{名}一个人走在{地方}。", "{名}听见奇怪的声音，心里很害怕。", "原来是一只小{动物}，它也很害怕。{名}[笑了|不怕了]，和它一起回家。"},
	{"今天是{友}的生日，{名}要做{食物}。", "{名}去{地方}找东西，忙了一天。", "{友}看见{食物}，高兴地说：“这是最好的生日！”"},
}

// chineseStory writes a story of three sentences in Chinese.
func (w *writer) chineseStory() string {
	i, j := w.IntN(len(chineseNames)), w.IntN(len(chineseNames)-1)
	if j >= i {
		j++
	}
	slots := map[string]string{
		"名": chineseNames[i], "友": chineseNames[j], "动物": pick(w, chineseAnimals), "地方": pick(w, chinesePlaces),
		"东西": pick(w, chineseThings), "颜色": pick(w, chineseColours), "食物": pick(w, chineseFoods),
	}
	var b strings.Builder
	for _, t := range pick(w, chinesePlots) {
		b.WriteString(w.expand(t, slots))
	}
	return b.String()
}
