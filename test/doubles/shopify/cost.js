// What an operation costs, before and after it ran, and the bucket that it is paid from.
//
// Scalars are free, an object costs 1, a connection 2 + max(1, floor(2 ln n)) x (1 + what each of its nodes costs), counted once for
// `nodes` and once for `edges`; a mutation 10 + the children of its payload's objects, and productSet and the bulk changes of variants
// some more by what they are given.  These were fitted to recorded answers (Shopify publishes no formula); productsCount costs 10.
'use strict';

const { graphql, schema } = require('./schema.js');

const { getNamedType, isCompositeType } = graphql;
const MAX_PAGE = 250;
const FREE = new Set(['InventoryItem.measurement', 'InventoryItemMeasurement.weight']);
const TEN = new Set(['QueryRoot.productsCount', 'QueryRoot.productVariantsCount']);

const times = (n) => Math.max(1, Math.floor(2 * Math.log(n)));
const isConnection = (type) => type.name.endsWith('Connection');

// The fields of a selection, fragments opened, @skip and @include followed: [{ key, node, field, args, type, parent }].
function fieldsOf(set, type, plan, out = []) {
	for (const node of set.selections) {
		if ((node.directives || []).some((d) => (d.name.value === 'skip' || d.name.value === 'include')
			&& graphql.getDirectiveValues(d.name.value === 'skip' ? graphql.GraphQLSkipDirective : graphql.GraphQLIncludeDirective, node,
				plan.variables).if === (d.name.value === 'skip')))
			continue;
		if (node.kind === 'Field') {
			if (node.name.value.startsWith('__'))
				continue;
			const field = type.getFields()[node.name.value];
			out.push({ key: node.alias ? node.alias.value : node.name.value, node, field, parent: type,
				args: graphql.getArgumentValues(field, node, plan.variables), type: getNamedType(field.type) });
		} else {
			const fragment = node.kind === 'FragmentSpread' ? plan.fragments[node.name.value] : node;
			fieldsOf(fragment.selectionSet, fragment.typeCondition ? schema.getType(fragment.typeCondition.name.value) : type, plan, out);
		}
	}
	return out;
}

// The cost of a field.  `value` undefined: as requested; else the value that it got, for the cost that it really had.
function fieldCost(f, plan, depth, value) {
	const actual = value !== undefined;
	if (!isCompositeType(f.type) || (actual && value === null))
		return 0;
	const name = `${f.parent.name}.${f.node.name.value}`;
	if (TEN.has(name))
		return 10;
	if (isConnection(f.type)) {
		const size = actual ? (value.nodes || value.edges || []).length : pageSize(f, plan, depth);
		if (actual && size === 0)
			return 2;
		let cost = 2, parts = 0;
		for (const part of fieldsOf(f.node.selectionSet, f.type, plan)) {
			if (part.key === 'pageInfo' || !isCompositeType(part.type) || part.node.name.value === 'pageInfo')
				continue;
			const node = part.node.name.value === 'edges'
				? fieldsOf(part.node.selectionSet, part.type, plan).find((x) => x.node.name.value === 'node') : part;
			const rows = actual ? value[part.key] || [] : null;
			parts++;
			if (!node || !isCompositeType(node.type))
				cost += times(size);
			else if (!actual)
				cost += times(size) * (1 + childrenCost(node, plan, depth + 1));
			else
				cost += Math.floor(times(size) * (1 + rows.reduce((sum, row) => sum + childrenCost(node, plan, depth + 1,
					part.node.name.value === 'edges' ? row[node.key] : row), 0) / size));
		}
		return parts ? cost : cost + times(size);
	}
	if (Array.isArray(f.args.ids) && f.parent.name === 'QueryRoot')
		return f.args.ids.length * (1 + childrenCost(f, plan, depth + 1));
	return (FREE.has(name) ? 0 : 1) + (Array.isArray(value) ? Math.max(0, ...value.map((row) => childrenCost(f, plan, depth + 1, row)))
		: childrenCost(f, plan, depth + 1, value));
}

function childrenCost(f, plan, depth, value) {
	if (value === null)
		return 0;
	return fieldsOf(f.node.selectionSet, f.type, plan).reduce((sum, child) =>
		sum + fieldCost(child, plan, depth, value === undefined ? undefined : value[child.key] ?? null), 0);
}

// The wanted size of a page; what is wrong with it goes to plan.errors.  (The text of the error for too large a page is not recorded.)
function pageSize(f, plan, depth) {
	const wanted = f.args.first ?? f.args.last;
	const fail = (message, code) => plan.errors.push({ message, locations: [graphql.getLocation(f.node.loc.source, f.node.loc.start)],
		extensions: { code }, path: [f.key] });
	if (wanted === null || wanted === undefined) {
		fail('you must provide one of first or last', 'BAD_REQUEST');
		return 1;
	}
	// product(id) { variants(first: 2048) } is the one longer page, and only for a single product.
	const most = f.parent.name === 'Product' && f.node.name.value === 'variants' && depth === 1 && plan.roots === 1 ? 2048 : MAX_PAGE;
	if (wanted < 0 || wanted > most)
		fail(wanted < 0 ? `${f.args.first !== undefined ? 'first' : 'last'} cannot be negative`
			: `${f.args.first !== undefined ? 'first' : 'last'} cannot exceed ${most}`, 'BAD_REQUEST');
	return Math.max(1, wanted);
}

// What a mutation's arguments cost.
function inputCost(f) {
	const files = (list) => (list || []).length;
	if (f.node.name.value === 'productSet') {
		const input = f.args.input || {};
		return 0.2 * files(input.variants) + 0.6 * (input.variants || []).filter((v) => v.file).length
			+ 0.4 * (files(input.metafields) + (input.variants || []).reduce((n, v) => n + files(v.metafields),
				0)) + 1.9 * files(input.files);
	}
	if (/^productVariantsBulk(Create|Update)$/.test(f.node.name.value))
		return 0.2 * files(f.args.variants) + 0.4 * (f.args.variants || []).reduce((n, v) => n + files(v.metafields), 0);
	return 0;
}

function mutationCost(f, plan, value) {
	if (value === null)
		return 10;
	const payload = fieldsOf(f.node.selectionSet, f.type, plan).filter((child) => isCompositeType(child.type)
		&& child.node.name.value !== 'userErrors');
	return 10 + Math.round(inputCost(f)) + payload.reduce((sum, child) => {
		const part = value === undefined ? undefined : value[child.key] ?? null;
		return sum + (Array.isArray(part) ? Math.max(0, ...part.map((row) => childrenCost(child, plan, 2, row)))
			: childrenCost(child, plan, 2, part));
	}, 0);
}

// What an operation will cost at most, and a function for what it did cost.
function plan(document, operation, variables, factor = 1) {
	const p = { variables, errors: [], fragments: {} };
	for (const d of document.definitions)
		if (d.kind === 'FragmentDefinition')
			p.fragments[d.name.value] = d;
	const root = operation.operation === 'mutation' ? schema.getMutationType() : schema.getQueryType();
	const roots = fieldsOf(operation.selectionSet, root, p);
	const sum = (data) => roots.reduce((total, f) => {
		const value = data === undefined ? undefined : data === null ? null : data[f.key] ?? null;
		return total + (operation.operation === 'mutation' ? mutationCost(f, p, value) : fieldCost(f, p, 0, value));
	}, 0);
	p.roots = roots.length;
	p.rootFields = roots;
	p.requested = Math.round(sum() * factor);
	p.actual = (data) => Math.min(p.requested, Math.round(sum(data ?? null) * factor));
	return p;
}

// ---- the bucket ----------------------------------------------------------------------------------------------------------------

class Bucket {
	constructor(options) {
		this.options = options;
		this.fill();
	}

	fill() {
		this.available = this.options.bucket_size;
		this.at = performance.now();
	}

	restore() {
		const now = performance.now();
		const rate = this.options.restore_rate - this.options.other_client_rate;
		this.available = Math.max(0, Math.min(this.options.bucket_size, this.available + (now - this.at) / 1000 * rate));
		this.at = now;
	}

	// Time moved on by a test.
	advance(seconds) { this.at -= seconds * 1000; }

	take(points) {
		this.restore();
		if (!this.options.throttle)
			return true;
		if (this.available < points)
			return false;
		this.available -= points;
		return true;
	}

	refund(points) {
		if (this.options.throttle)
			this.available = Math.min(this.options.bucket_size, this.available + points);
	}

	status() {
		this.restore();
		return { maximumAvailable: this.options.bucket_size, currentlyAvailable: Math.floor(this.available),
			restoreRate: this.options.restore_rate };
	}
}

const TOO_DEAR = (cost, most) => ({
	message: `Query cost is ${cost}, which exceeds the single query max cost limit (${most}).\n\n`
		+ 'See https://shopify.dev/concepts/about-apis/rate-limits for more information on how the\ncost of a query is calculated.\n\n'
		+ 'To query larger amounts of data with fewer limits, bulk operations should be used instead.\n'
		+ 'See https://shopify.dev/api/usage/bulk-operations/queries for usage details.\n',
	extensions: { code: 'MAX_COST_EXCEEDED', cost, maxCost: most, documentation: 'https://shopify.dev/api/usage/rate-limits' },
});

module.exports = { plan, Bucket, TOO_DEAR };
