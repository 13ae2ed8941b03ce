// Bulk mutations: a mutation that is run once for each line of an uploaded file, the line being its variables.  Each run goes through
// the executor and the resolvers that a request goes through, so that checks and effects are the same; it costs no points.
//
// Lines run in no fixed order (shuffled, by the option `seed` and the number of the operation).  The result has a line for each, in the
// order in which they ran: {"data": .., "__lineNumber": n}, n from 0, and `errors` beside data where a request would have had some.
// The texts of refusals are recorded ones, where not said otherwise.
'use strict';

const { graphql, schema, prepare } = require('./schema.js');

const NOT_IN_BULK = new Set(['bulkOperationRunMutation', 'bulkOperationRunQuery', 'bulkOperationCancel', 'stagedUploadsCreate']);
const isConnection = (type) => type.name.endsWith('Connection');

class Refused extends Error {
	constructor(message, code, field, errors) {
		super(message);
		Object.assign(this, { code, field, errors });
	}
}

// The only operation of a mutation's text; throws Refused.
function checkMutation(text) {
	const bytes = Buffer.byteLength(text);
	if (bytes > 65535)
		throw new Refused(`is too large (${bytes} bytes; maximum is 65535 bytes)`, 'INVALID_MUTATION', ['query']);
	const { document, errors } = prepare(text);
	if (errors && errors[0].extensions.code === 'PARSE_ERROR')
		throw new Refused(`Failed to parse the mutation - ${errors[0].message}`, 'INVALID_MUTATION', null, errors);
	if (errors)         // not recorded; worded as for queries
		throw new Refused(`Invalid bulk mutation: ${errors.map((e) => e.message).join(', ')}`, 'INVALID_MUTATION', ['mutation'], errors);
	const operations = document.definitions.filter((d) => d.kind === 'OperationDefinition');
	if (operations.some((o) => o.operation !== 'mutation'))
		throw new Refused('Invalid operation type. Only `mutation` operations are supported.', 'INVALID_MUTATION', null);
	const roots = operations.flatMap((o) => rootFields(o.selectionSet, document));
	if (operations.length !== 1 || roots.length !== 1)
		throw new Refused('You must specify a single top level mutation.', null, ['mutation']);
	if (NOT_IN_BULK.has(roots[0].name.value))
		throw new Refused('You must use an allowed mutation name.', null, ['mutation']);
	const types = new graphql.TypeInfo(schema);
	let connections = 0;
	graphql.visit(document, graphql.visitWithTypeInfo(types, { Field() {
		const type = graphql.getNamedType(types.getType());
		connections += type && isConnection(type) ? 1 : 0;
	} }));
	if (connections > 1)
		throw new Refused('Bulk mutations cannot contain more than 1 connection.', null, ['mutation']);
	return { document, operation: operations[0], root: roots[0].name.value };
}

function rootFields(set, document) {
	return set.selections.flatMap((s) => (s.kind === 'Field' ? [s] : rootFields((s.kind === 'InlineFragment' ? s
		: document.definitions.find((d) => d.kind === 'FragmentDefinition' && d.name.value === s.name.value)).selectionSet, document)));
}

function checkIdentifier(identifier) {
	if (identifier === null || identifier === undefined)
		return;
	if (identifier.length < 10)
		throw new Refused('is too short (minimum is 10 characters)', 'INVALID_MUTATION', ['clientIdentifier']);
	if (identifier.length > 255)
		throw new Refused('is too long (maximum is 255 characters)', 'INVALID_MUTATION', ['clientIdentifier']);
}

// The lines of an uploaded file: [[start, end)] in its bytes, empty ones left out; throws Refused.
function linesOf(file) {
	if (!file)
		throw new Refused('The JSONL file could not be found. Try uploading the file again, and check that you\'ve entered the URL correctly '
			+ 'for the stagedUploadPath mutation argument.', 'NO_SUCH_FILE', null);
	const lines = [];
	for (let at = 0; at < file.length;) {
		const end = file.indexOf(10, at) < 0 ? file.length : file.indexOf(10, at);
		if (file.subarray(at, end).toString('latin1').trim() !== '')
			lines.push([at, end]);
		at = end + 1;
	}
	if (lines.length === 0)
		throw new Refused('The input file is empty.', 'INVALID_STAGED_UPLOAD_FILE', null);
	if (!variablesOf(file, lines[0]))       // heard of from users, not recorded
		throw new Refused('Unexpected file structure - expected JSONL', 'INVALID_STAGED_UPLOAD_FILE', null);
	return lines;
}

function variablesOf(file, [start, end]) {
	try {
		const value = JSON.parse(file.subarray(start, end).toString());
		return value !== null && typeof value === 'object' && !Array.isArray(value) ? value : null;
	} catch (error) {
		return null;
	}
}

// The numbers 0 .. count-1 in an order that the seed decides.
function shuffled(count, seed) {
	const order = Array.from({ length: count }, (_, k) => k);
	let state = Math.imul(seed, 2654435761) >>> 0;
	for (let k = count - 1; k > 0; k--) {
		state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
		const other = Math.floor(state / 4294967296 * (k + 1));
		[order[k], order[other]] = [order[other], order[k]];
	}
	return order;
}

module.exports = { Refused, checkMutation, checkIdentifier, linesOf, variablesOf, shuffled };
