// Shopify's search syntax (the `query` argument), its sort keys, and its pages: terms joined by blanks or AND, OR, parentheses, NOT or
// a minus sign, `field:value`, comparators :> :>= :< :<=, quoted values, a star at the end of a word.
//
// As in Shopify, a field that the schema's documentation does not list for that query is ignored, so that ALL rows come, and
// extensions.search gets a warning.  A field that is listed and that this double does not know is an error: better than a wrong answer.
'use strict';

const { graphql, searchFields } = require('./schema.js');
const { numberOf } = require('./store.js');

const { GraphQLError } = graphql;

// ---- parsing -------------------------------------------------------------------------------------------------------------------

function tokens(text) {
	const list = [];
	const pattern = /\s+|([()])|(-)?(?:([A-Za-z_][A-Za-z0-9_.]*):(>=|<=|>|<)?)?("(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*'|[^\s()"']+)/gy;
	let at = 0;
	while (at < text.length) {
		pattern.lastIndex = at;
		const m = pattern.exec(text);
		if (!m) {
			at++;
			continue;
		}
		at = pattern.lastIndex;
		if (m[1])
			list.push({ mark: m[1] });
		else if (m[5] !== undefined) {
			const quoted = /^["']/.test(m[5]);
			const value = quoted ? m[5].slice(1, -1).replace(/\\(.)/g, '$1') : m[5];
			if (!m[2] && !m[3] && !quoted && /^(AND|OR|NOT)$/.test(value))
				list.push({ mark: value });
			else
				list.push({ not: !!m[2], field: m[3] || 'default', comparator: m[4] || '', value });
		}
	}
	return list;
}

// A tree of { and }, { or }, { not } and terms.
function parse(text) {
	const list = tokens(text);
	let k = 0;
	const either = () => {
		const parts = [all()];
		while (list[k] && list[k].mark === 'OR') {
			k++;
			parts.push(all());
		}
		return parts.length > 1 ? { or: parts } : parts[0];
	};
	const all = () => {
		const parts = [];
		while (list[k] && list[k].mark !== ')' && list[k].mark !== 'OR') {
			if (list[k].mark === 'AND') {
				k++;
				continue;
			}
			parts.push(one());
		}
		return parts.length === 1 ? parts[0] : { and: parts };
	};
	const one = () => {
		const token = list[k++];
		if (token.mark === 'NOT')
			return list[k] ? { not: one() } : { and: [] };
		if (token.mark === '(') {
			const inner = either();
			if (list[k])
				k++;
			return inner;
		}
		const term = { field: token.field, comparator: token.comparator, value: token.value };
		return token.not ? { not: term } : term;
	};
	const tree = either();
	return tree;
}

const RANGES = { '>': 'range_gt', '>=': 'range_gte', '<': 'range_lt', '<=': 'range_lte', '': 'match_all' };

// The tree as Shopify tells it in extensions.search[].parsed.
function told(node) {
	if (node.and)
		return { and: node.and.map(told) };
	if (node.or)
		return { or: node.or.map(told) };
	if (node.not)
		return { not: told(node.not) };
	return { field: node.field, [RANGES[node.comparator]]: node.value };
}

function terms(node, out = []) {
	for (const part of node.and || node.or || (node.not ? [node.not] : []))
		terms(part, out);
	if (node.field)
		out.push(node);
	return out;
}

// ---- matching ------------------------------------------------------------------------------------------------------------------

// Microseconds of a time in a query: ISO, or a date, or "now"; NaN where it is none.
const timeOf = (text, now) => (text === 'now' ? now : Date.parse(/[zZ]|[+-]\d\d:?\d\d$/.test(text) || !text.includes('T') ? text
	: `${text}Z`) * 1000);

function compare(a, comparator, b) {
	return comparator === '>' ? a > b : comparator === '>=' ? a >= b : comparator === '<' ? a < b : comparator === '<=' ? a <= b : a === b;
}

// Tests, each (term, context) -> (row) -> boolean.  Times are compared as whole seconds, as they are shown.
const time = (get) => (term, { now }) => {
	const wanted = Math.floor(timeOf(term.value, now) / 1e6);
	return (row) => compare(Math.floor(get(row) / 1e6), term.comparator, wanted);
};
const number = (get) => (term) => {
	const wanted = Number.isNaN(numberOf(term.value)) ? Number(term.value) : numberOf(term.value);
	return (row) => [].concat(get(row)).some((n) => compare(n, term.comparator, wanted));
};
const text = (get) => (term) => {
	const wanted = term.value.toLowerCase();
	const star = wanted.endsWith('*');
	const same = (value) => (star ? value.toLowerCase().startsWith(wanted.slice(0, -1)) : value.toLowerCase() === wanted);
	return (row) => [].concat(get(row)).some((value) => value !== null && value !== undefined && same(String(value)));
};
const words = (get) => (term) => {
	const wanted = term.value.toLowerCase().replace(/\*$/, '');
	return (row) => String(get(row)).toLowerCase().includes(wanted);
};
const stock = (v) => v.levels.reduce((sum, l) => sum + l.available, 0);

const TESTS = {
	product: {
		id: number((p) => p.id), updated_at: time((p) => p.updated), created_at: time((p) => p.created),
			published_at: time((p) => p.published),
		title: words((p) => p.title), handle: text((p) => p.handle), vendor: text((p) => p.vendor),
			product_type: text((p) => p.productType),
		status: text((p) => p.status), tag: text((p) => p.tags),
			tag_not: (term, c) => { const has = text((p) => p.tags)(term, c); return (p) => !has(p); },
		sku: text((p) => p.variants.map((v) => v.sku)), barcode: text((p) => p.variants.map((v) => v.barcode)),
			variant_id: number((p) => p.variants.map((v) => v.id)),
		inventory_total: number((p) => p.variants.reduce((sum, v) => sum + stock(v), 0)),
		default: words((p) => [p.title, p.vendor, p.productType, ...p.tags, ...p.variants.map((v) => `${v.sku} ${v.barcode}`)].join('\n')),
	},
	variant: {
		id: number((v) => v.id), updated_at: time((v) => v.updated), sku: text((v) => v.sku), barcode: text((v) => v.barcode),
			product_id: number((v) => v.product.id),
		title: words((v) => v.product.title), vendor: text((v) => v.product.vendor), product_type: text((v) => v.product.productType),
		product_status: text((v) => v.product.status), inventory_quantity: number(stock), tag: text((v) => v.product.tags),
		default: words((v) => `${v.product.title}\n${v.sku}\n${v.barcode}`),
	},
	item: { id: number((v) => v.itemId), sku: text((v) => v.sku), updated_at: time((v) => v.itemUpdated),
		created_at: time((v) => v.created) },
	level: { id: number((l) => l.location.id), inventory_item_id: number((l) => l.item.itemId), updated_at: time((l) => l.updated),
		created_at: time((l) => l.created) },
	event: { id: number((e) => e.id), action: text((e) => e.action), subject_type: text((e) => e.subjectType),
		created_at: time((e) => e.created) },
	bulk: { id: number((b) => b.id), status: text((b) => b.status), operation_type: text((b) => b.type),
		created_at: time((b) => b.created) },
	location: { name: words((l) => l.name), default: words((l) => l.name) },
	webhook: { id: number((w) => w.id) },
};

// The test of a query for rows of a kind, for field `field` of type `type`; what Shopify says about it goes to context.search.
function matcher(kind, type, field, query, context, path) {
	const tree = parse(query);
	const known = searchFields(type, field);
	const warnings = [];
	const build = (node) => {
		if (node.and || node.or) {
			const tests = (node.and || node.or).map(build).filter(Boolean);
			return tests.length === 0 ? null : node.or && tests.length === node.or.length ? (row) => tests.some((t) => t(row))
				: node.or ? null : (row) => tests.every((t) => t(row));
		}
		if (node.not) {
			const test = build(node.not);
			return test && ((row) => !test(row));
		}
		if (!known.has(node.field) && !(node.field === 'default' && TESTS[kind].default)) {
			warnings.push(node.field === 'default'
				? { field: 'default', message: 'Input must use named search fields in this query.', code: 'missing_named_field' }
				: { field: node.field, message: 'Invalid search field for this query.', code: 'invalid_field' });
			return null;
		}
		if (!TESTS[kind][node.field])
			throw new GraphQLError(`The double does not search ${type}.${field} by ${node.field}`,
				{ extensions: { code: 'NOT_IN_DOUBLE' } });
		return TESTS[kind][node.field](node, { now: context.store.now() });
	};
	const test = build(tree);
	if (warnings.length || context.searchDebug)
		context.search.push({ path, query, parsed: told(tree), ...(warnings.length ? { warnings } : {}) });
	return { test: test || (() => true), terms: terms(tree) };
}

// ---- pages ---------------------------------------------------------------------------------------------------------------------

// 2026-07-11 19:12:53.198186, as in Shopify's cursors.
const microTime = (us) => new Date(Math.floor(us / 1000)).toISOString().replace('T', ' ').replace(/\.\d+Z$/,
	'') + '.' + String(us % 1e6).padStart(6, '0');
const fromMicroTime = (value) => Date.parse(`${value.slice(0, 19).replace(' ', 'T')}Z`) * 1000 + Number(value.slice(20, 26) || 0);

const encode = (last_id, last_value) => Buffer.from(JSON.stringify({ last_id, last_value })).toString('base64');
function decode(cursor) {
	try {
		const value = JSON.parse(Buffer.from(cursor, 'base64').toString());
		if (Number.isFinite(value.last_id))
			return value;
	} catch (error) {
		// said below
	}
	throw new GraphQLError('Invalid cursor for current pagination sort.', { extensions: { code: 'BAD_REQUEST' } });
}

// Orders: what a row is sorted by, and whether that is a time.
const byId = { value: (row) => row.id, cursor: (value) => String(value), parse: Number };
const byTime = (get) => ({ value: get, cursor: microTime, parse: fromMicroTime });
const byText = (get) => ({ value: (row) => String(get(row) ?? ''), cursor: String, parse: String });
const byNumber = (get) => ({ value: get, cursor: String, parse: Number });
const ORDERS = {
	product: { ID: byId, RELEVANCE: byId, UPDATED_AT: byTime((p) => p.updated), CREATED_AT: byTime((p) => p.created),
		PUBLISHED_AT: byTime((p) => p.published),
		TITLE: byText((p) => p.title), VENDOR: byText((p) => p.vendor), PRODUCT_TYPE: byText((p) => p.productType),
		INVENTORY_TOTAL: byNumber((p) => p.variants.reduce((sum, v) => sum + stock(v), 0)) },
	variant: { ID: byId, RELEVANCE: byId, POSITION: byNumber((v) => v.position), SKU: byText((v) => v.sku),
		INVENTORY_QUANTITY: byNumber(stock) },
	item: { ID: { ...byId, value: (v) => v.itemId } },
	level: { ID: byNumber((l) => l.location.id) },
	location: { ID: byId, NAME: byText((l) => l.name), RELEVANCE: byId },
	event: { ID: byId, CREATED_AT: byTime((e) => e.created) },
	bulk: { ID: byId, CREATED_AT: byTime((b) => b.created), COMPLETED_AT: byTime((b) => b.completed || 0),
		STATUS: byText((b) => b.status) },
	webhook: { ID: byId, CREATED_AT: byTime((w) => w.created) },
	media: { ID: byId, POSITION: null }, metafield: { ID: byId }, publication: { ID: byId },
};
const idOf = { item: (v) => v.itemId, level: (l) => l.item.itemId };

const MAX_PAGE = 250;

// One page of `rows` (in the order of `order`, or in their own when it is null), keyset style: after and before say the last row
// seen, not a number of rows.
function page(rows, args, kind, order, sorted) {
	const rowId = idOf[kind] || ((row) => row.id);
	const place = order || { value: (row) => rows.indexOf(row), cursor: String, parse: Number };
	const sign = args.reverse ? -1 : 1;
	const compareRows = (a, b) => {
		const x = place.value(a), y = place.value(b);
		return sign * (x < y ? -1 : x > y ? 1 : rowId(a) - rowId(b));
	};
	if (order && !sorted)
		rows = [...rows].sort(compareRows);
	else if (!order && args.reverse)
		rows = [...rows].reverse();
	const bound = (cursor, past) => {
		const { last_id, last_value } = decode(cursor);
		const wanted = place.parse(last_value);
		let low = 0, high = rows.length;
		while (low < high) {
			const middle = (low + high) >> 1;
			const x = place.value(rows[middle]);
			const c = sign * (x < wanted ? -1 : x > wanted ? 1 : rowId(rows[middle]) - last_id);
			if (c < 0 || (past && c === 0))
				low = middle + 1;
			else
				high = middle;
		}
		return low;
	};
	let from = args.after ? bound(args.after, true) : 0, to = args.before ? bound(args.before, false) : rows.length;
	const start = from, end = to;
	if (args.first !== null && args.first !== undefined)
		to = Math.min(to, from + args.first);
	else
		from = Math.max(from, to - args.last);
	const nodes = rows.slice(from, to);
	const cursorOf = (row) => encode(rowId(row), place.cursor(place.value(row)));
	return {
		nodes,
		edges: () => nodes.map((node) => ({ node, cursor: () => cursorOf(node) })),
		pageInfo: () => ({ hasNextPage: to < end, hasPreviousPage: from > start || !!args.after,
			startCursor: nodes.length ? cursorOf(nodes[0]) : null, endCursor: nodes.length ? cursorOf(nodes[nodes.length - 1]) : null }),
	};
}

module.exports = { matcher, page, ORDERS, MAX_PAGE, parse };
