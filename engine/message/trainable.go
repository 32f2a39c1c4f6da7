package message

import "fmt"

// Words of the key trainable that each name a part of the base model.
const (
	PartAll         = "all"          // every parameter of the base model
	PartLMHead      = "lm_head"      // untied from the embedding, where the model ties them
	PartScore       = "score"        // the classification head
	PartEmbedTokens = "embed_tokens" // a tied head trains with it
	PartNorm        = "norm"         // the final one
)

// LayersPrefix begins the entries of trainable that name decoder blocks, such as layers:last:2.
const LayersPrefix = "layers:"

// UnfreezeStage is an entry of the key unfreeze: after Step updates, these entries of trainable train.
type UnfreezeStage struct {
	Step      int      `json:"step"`
	Trainable []string `json:"trainable"`
}

// UnfreezeFromTheHead unfreezes from the top down: first the output head and the final norm, then one more block every so
// many steps, up to so many blocks. Howard & Ruder 2018, arXiv:1801.06146, call it gradual unfreezing.
func UnfreezeFromTheHead(blocks, every int) (stages []UnfreezeStage) {
	for k := range blocks + 1 {
		parts := []string{PartLMHead, PartNorm}
		if k > 0 {
			parts = append(parts, fmt.Sprintf("%slast:%d", LayersPrefix, k))
		}
		stages = append(stages, UnfreezeStage{Step: k * every, Trainable: parts})
	}
	return stages
}
