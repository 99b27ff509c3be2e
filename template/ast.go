package template

// The parsed form of a template. Every node is immutable after parsing.

type expr any

type (
	constExpr struct{ value Value }
	nameExpr  struct{ name string }
	listExpr  struct {
		items []expr
		tuple bool
	}
	dictExpr struct{ keys, vals []expr }
	attrExpr struct { // obj.name
		obj  expr
		name string
		line int
	}
	itemExpr struct { // obj[arg]
		obj, arg expr
		line     int
	}
	sliceExpr struct { // obj[start:stop:step]; absent parts are nil
		obj, start, stop, step expr
		line                   int
	}
	callExpr struct {
		fn   expr
		args callArgs
		line int
	}
	filterExpr struct { // obj|name(args); obj is a *blockValue inside filter and set blocks
		obj    expr
		name   string
		filter filterFunc // nil: an unknown filter in a branch, an error when it is reached
		args   callArgs
		line   int
	}
	testExpr struct { // obj is name(args)
		obj  expr
		name string
		test testFunc // nil as for filterExpr
		args callArgs
		line int
	}
	unaryExpr struct { // - or +
		op   string
		x    expr
		line int
	}
	notExpr    struct{ x expr }
	binaryExpr struct { // + - * / // % **
		op   string
		l, r expr
		line int
	}
	concatExpr struct { // a ~ b ~ c
		parts []expr
		line  int
	}
	compareExpr struct { // a < b == c; operators are == != < <= > >= in, not in
		first expr
		ops   []string
		rest  []expr
		line  int
	}
	logicExpr struct { // and, or
		and  bool
		l, r expr
	}
	condExpr   struct{ test, then, otherwise expr } // otherwise may be nil
	blockValue struct{}                             // the text of the block a filter is applied to
)

type callArgs struct {
	pos      []expr
	kw       []keywordExpr
	star     expr // *args, or nil
	starStar expr // **kwargs, or nil
}

type keywordExpr struct {
	name  string
	value expr
}

type stmt any

type (
	textStmt   struct{ text string }
	outputStmt struct {
		value expr
		line  int
	}
	ifStmt struct {
		test            expr
		body, otherwise []stmt
		line            int
	}
	forStmt struct {
		target          target
		iter            expr
		test            expr // or nil
		recursive       bool
		body, otherwise []stmt
		line            int
	}
	setStmt struct {
		target target
		value  expr
		line   int
	}
	setBlockStmt struct {
		target target
		filter expr // or nil
		body   []stmt
		line   int
	}
	macroStmt struct {
		macro macroDef
		line  int
	}
	callStmt struct {
		call   *callExpr
		caller macroDef
		line   int
	}
	filterStmt struct {
		filter expr
		body   []stmt
		line   int
	}
	withStmt struct {
		targets []target
		values  []expr
		body    []stmt
		line    int
	}
	generationStmt struct{ body []stmt }
	breakStmt      struct{}
	continueStmt   struct{}
)

// target of an assignment: a name, an attribute of a namespace, or a tuple of targets.
type target struct {
	name  string
	attr  string // not empty: name.attr
	tuple []target
	multi bool // tuple is what counts, even where it is empty
	line  int
}

type macroDef struct {
	name     string
	params   []string
	defaults []expr // of the last parameters
	body     []stmt
	// special names the body mentions; each changes which arguments a call may give
	usesCaller, usesVarargs, usesKwargs bool
}
