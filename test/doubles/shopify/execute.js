// One GraphQL request, from its text to the body of its answer: checked against Shopify's schema, paid from the bucket, limited, run.
'use strict';

const crypto = require('crypto');
const { graphql, schema, prepare, variablesOf, operationOf } = require('./schema.js');
const { plan, TOO_DEAR } = require('./cost.js');
const { resolve, typeOf } = require('./resolvers.js');

// Lists in the arguments of mutations may have 250 elements, these more (or fewer, where Shopify answers with a userError of its own).
const LIST_LIMITS = { 'productSet.input.variants': 2048, 'productVariantsBulkCreate.variants': 2048, 'metafieldsSet.metafields': Infinity };
const MAX_LIST = 250;
// Fields of input objects that must be written down, even as null, though the schema does not say so.
const MUST_BE_THERE = { InventoryQuantityInput: 'changeFromQuantity', InventoryChangeInput: 'changeFromQuantity' };
const IDEMPOTENT = new Set(['inventorySetQuantities', 'inventoryAdjustQuantities', 'inventoryActivate', 'inventoryMoveQuantities',
	'inventorySetOnHandQuantities']);

const locationsOf = (node) => [graphql.getLocation(node.loc.source, node.loc.start)];

function requestId() { return `${crypto.randomUUID()}-${Math.floor(Date.now() / 1000)}`; }

function internalError() {
	const id = requestId();
	return { errors: [{ message: 'Internal error. Looks like something went wrong on our end.\n'
		+ `Request ID: ${id} (include this in support requests).`,
		extensions: { code: 'INTERNAL_SERVER_ERROR', requestId: id } }], data: null };
}

// What Shopify refuses in a mutation before it runs, beyond its schema; null where nothing is wrong.
function refusal(field) {
	const { node, args } = field, name = node.name.value;
	const error = (message, code, path) => ({ message, locations: locationsOf(node), extensions: { code }, path: [field.key, ...path] });
	const directive = (node.directives || []).find((d) => d.name.value === 'idempotent');
	if (IDEMPOTENT.has(name) && !directive)
		return error('The @idempotent directive is required for this mutation but was not provided.', 'BAD_REQUEST', []);
	let found = null;
	const walk = (value, type, path) => {
		if (found || value === null || value === undefined)
			return;
		type = graphql.getNullableType(type);
		if (graphql.isListType(type)) {
			const most = LIST_LIMITS[[name, ...path].join('.')] ?? MAX_LIST;
			if (value.length > most)
				found = error(`The input array size of ${value.length} is greater than the maximum allowed of ${most}.`,
					'MAX_INPUT_SIZE_EXCEEDED', path);
			for (const item of value)
				walk(item, type.ofType, path);
		} else if (graphql.isInputObjectType(type)) {
			const needed = MUST_BE_THERE[type.name];
			if (needed && !(needed in value)) {
				found = error(`${type.name} must include the following argument: ${needed}.`, 'INVALID_FIELD_ARGUMENTS', []);
				return;
			}
			for (const [key, part] of Object.entries(value))
				walk(part, type.getFields()[key].type, [...path, key]);
		}
	};
	for (const argument of field.field.args)
		walk(args[argument.name], argument.type, [argument.name]);
	return found;
}

// Executes an operation that was checked: { body: { errors, data }, unknown: what the double does not know }.
function execute(document, operationName, variableValues, context) {
	const result = graphql.execute({ schema, document, operationName, variableValues, rootValue: {}, contextValue: context,
		fieldResolver: resolve, typeResolver: typeOf });
	if (typeof result.then === 'function')
		throw new Error('a resolver is asynchronous');
	const body = {};
	let unknown;
	if (result.errors) {
		body.errors = result.errors.map(({ message, locations, path, extensions, originalError }) => {
			if (originalError && !(originalError instanceof graphql.GraphQLError))
				console.error(originalError);
			return { message, locations, path, extensions };
		});
		unknown = body.errors.filter((e) => !e.extensions || !e.extensions.code
			|| e.extensions.code === 'NOT_IN_DOUBLE').map((e) => e.message);
	}
	body.data = result.data ?? null;
	return { body, unknown };
}

// One line of a bulk mutation: checked and run as a request is, without cost.  Returns its body, and what is worth noting.
function runLine({ document, operation }, given, shop, about) {
	const note = {};
	const reject = (errors) => {
		note.rejected = errors;
		return { body: { errors }, note };
	};
	const variables = variablesOf(operation, given);
	if (variables.errors)
		return reject(variables.errors);
	const errors = plan(document, operation, variables.values).rootFields.map(refusal).filter(Boolean);
	if (errors.length)
		return reject(errors);
	const { body, unknown } = execute(document, undefined, given, { ...shop, ...about, request: ++shop.counters.requests, search: [] });
	note.unknown = unknown;
	return { body, note };
}

// What a request asks for before anything is done with it: { operation, fields }, empty where that cannot be told.
function asksFor(request) {
	const { document } = typeof request.query === 'string' ? prepare(request.query) : {};
	const operation = document && operationOf(document, request.operationName);
	return operation ? { operation: operation.operation, fields: operation.selectionSet.selections.filter((s) =>
		s.kind === 'Field').map((s) => s.name.value) } : { operation: '', fields: [] };
}

// Runs a request: { query, variables, operationName }.  Returns the body, and what is worth noting: { rejected, mutations, cost }.
function run(request, shop, { debug = {} } = {}) {
	const { options, bucket } = shop;
	const note = {};
	const reject = (errors, body = { errors }) => {
		note.rejected = errors;
		return { body, note };
	};
	if (typeof request.query !== 'string')
		return reject([{ message: 'No query string was present', extensions: { code: 'BAD_REQUEST' } }],
			{ errors: { query: 'Required parameter missing or invalid' } });
	const prepared = prepare(request.query);
	if (prepared.errors)
		return reject(prepared.errors);
	const { document } = prepared;
	const operation = operationOf(document, request.operationName);
	if (!operation)
		return reject([{ message: request.operationName ? `No operation named "${request.operationName}"` : 'An operation name is required',
			extensions: { code: 'BAD_REQUEST' } }]);
	const variables = variablesOf(operation, request.variables || {});
	if (variables.errors)
		return reject(variables.errors);

	const cost = plan(document, operation, variables.values, options.cost_factor);
	note.cost = cost.requested;
	note.operation = operation.operation;
	note.fields = cost.rootFields.map((f) => f.node.name.value);
	const told = (actual) => ({ requestedQueryCost: cost.requested, actualQueryCost: actual, throttleStatus: bucket.status() });
	if (cost.errors.length)
		return reject(cost.errors, { errors: cost.errors, extensions: { cost: told(null) } });
	if (cost.requested > options.max_cost) {
		// Only Shopify's own limit is the client's to know.
		const errors = [TOO_DEAR(cost.requested, options.max_cost)];
		return cost.requested > 1000 && options.cost_factor === 1 ? reject(errors) : { body: { errors }, note };
	}
	if (options.throttle_next > 0 || !bucket.take(cost.requested)) {
		if (options.throttle_next > 0)
			options.throttle_next--;
		note.throttled = true;
		return { body: { errors: [{ message: 'Throttled',
			extensions: { code: 'THROTTLED', documentation: 'https://shopify.dev/api/usage/rate-limits' } }],
			extensions: { cost: told(null) } }, note };
	}
	if (options.internal_error_next > 0) {
		options.internal_error_next--;
		note.failed = true;
		return { body: internalError(), note };
	}
	if (operation.operation === 'mutation') {
		const errors = cost.rootFields.map(refusal).filter(Boolean);
		if (errors.length) {
			bucket.refund(cost.requested);
			return reject(errors, { errors, extensions: { cost: told(null) } });
		}
		note.mutations = note.fields;
	}

	const context = { ...shop, request: ++shop.counters.requests, search: [], searchDebug: debug.search };
	const { body, unknown } = execute(document, request.operationName, request.variables || {}, context);
	const actual = cost.actual(body.data);
	bucket.refund(cost.requested - actual);
	note.actual = actual;
	note.unknown = unknown;
	body.extensions = { cost: told(actual) };
	if (context.search.length)
		body.extensions.search = context.search;
	return { body, note };
}

module.exports = { run, runLine, asksFor, requestId };
