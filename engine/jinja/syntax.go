package jinja

// An expression computes a value.
type expression interface{ eval(r *run) any }

type (
	constant struct{ value any }
	name     struct{ name string }
	// sequence is a list, or a tuple.
	sequence struct {
		items []expression
		tuple bool
	}
	mapping   struct{ keys, values []expression }
	attribute struct {
		of   expression
		name string
		line int
	}
	index struct {
		of, at expression
		line   int
	}
	slice struct {
		of                  expression
		from, to, increment expression // nil where left out
		line                int
	}
	// arguments of a call, a filter or a test. spread and named are *list and **dictionary, nil where there is none.
	arguments struct {
		values        []expression
		names         []string // of the last len(names) values
		spread, named expression
	}
	call struct {
		of expression
		arguments
		line int
	}
	filter struct {
		of   expression // nil: the body of a filter tag
		name string
		arguments
		line int
	}
	test struct {
		of   expression
		name string
		arguments
		line int
	}
	negation struct{ of expression } // not
	unary    struct {
		operator string
		of       expression
		line     int
	}
	arithmetic struct {
		operator    string
		left, right expression
		line        int
	}
	// logical is and or or.
	logical struct {
		or          bool
		left, right expression
	}
	// comparison compares each operand with the next: a < b <= c.
	comparison struct {
		operands  []expression
		operators []string
		line      int
	}
	concatenation struct{ parts []expression }
	// conditional is "then if condition else otherwise"; otherwise may be nil.
	conditional struct{ condition, then, otherwise expression }
)

// A statement writes text, or changes variables.
type statement interface{ exec(r *run) flow }

// flow says how a loop goes on after a statement.
type flow int

const (
	onward flow = iota
	toNext      // continue
	toEnd       // break
)

type (
	text   struct{ text string }
	output struct {
		value expression
		line  int
	}
	branches struct {
		conditions []expression
		bodies     [][]statement // one more than conditions where there is an else
		line       int
	}
	loop struct {
		targets   target
		over      expression
		condition expression // nil where there is none
		body      []statement
		otherwise []statement
		recursive bool
		line      int
	}
	assignment struct {
		targets target
		value   expression // nil: body, through the filters of filtered
		body    []statement
		line    int
		// filtered holds the filters of a set tag with a body, innermost first.
		filtered []*filter
	}
	with struct {
		targets []target
		values  []expression
		body    []statement
		line    int
	}
	macro struct {
		name                    string
		names                   []string
		defaults                []expression // of the last parameters
		body                    []statement
		usesVarargs, usesKwargs bool
	}
	callBlock struct {
		call   *call
		caller *macro
		line   int
	}
	filterBlock struct {
		filters []*filter
		body    []statement
		line    int
	}
	// generation holds what the model says: its text is where the loss counts.
	generation struct{ body []statement }
	jump       struct{ flow flow }
)

// target is what is assigned to: a name, an attribute of a namespace, or several targets.
type target struct {
	name  string
	of    string // the namespace's name, "" for a variable
	parts []target
}
