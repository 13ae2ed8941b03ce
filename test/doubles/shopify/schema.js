// Shopify's own schema: the official introspection of the Admin API, taken out of npm's @shopify/dev-mcp by test/env/install.sh, and
// graphql-js to check and run operations against it.  Both lie in the cache folder, $PRODUCT_SYNC_CACHE/shopify.
//
// Shopify runs graphql-ruby, whose errors read differently from graphql-js's: translate() says each in Shopify's words, with its code,
// path and locations, so that a client's reading of errors is tested too.
'use strict';

const fs = require('fs');
const path = require('path');
const zlib = require('zlib');

const folder = path.join(process.env.PRODUCT_SYNC_CACHE || '/var/cache/product_sync', 'shopify');
const graphql = require(path.join(folder, 'node_modules/graphql'));
const VERSION = '2026-10';

const introspection = JSON.parse(zlib.gunzipSync(fs.readFileSync(path.join(folder, `admin_${VERSION}.json.gz`)))).data;
const schema = graphql.buildClientSchema(introspection, { assumeValid: true });

// Names that may stand before a colon in the `query` argument of a field: the schema's own documentation lists them in a table.
const searchNames = new Map();
function searchFields(type, field) {
	const key = `${type}.${field}`;
	if (!searchNames.has(key)) {
		const argument = schema.getType(type).getFields()[field].args.find((a) => a.name === 'query');
		const rows = argument ? [...argument.description.matchAll(/^\| (?!name )([a-z_]+) \| [a-z]+/gm)] : [];
		searchNames.set(key, new Set(rows.map((row) => row[1])));
	}
	return searchNames.get(key);
}

// The scopes that a mutation needs: { text, alternatives: [[scope, ..], ..] }.  Shopify's introspection says them in words.
const access = new Map(introspection.__schema.types.find((t) => t.name === 'Mutation').fields.map((f) => [f.name, f.requiredAccess]));
const mutationScopes = new Map();
function scopesOf(mutation) {
	if (!mutationScopes.has(mutation)) {
		// metafieldsSet and metafieldsDelete need what their owner needs, here always a product or a variant.
		const text = /^metafields(Set|Delete)$/.test(mutation) ? '`write_products` access scope.' : access.get(mutation) || '';
		mutationScopes.set(mutation, { text, alternatives: text.split(' Also: ')[0].split(/ or /).map((part) =>
			[...part.matchAll(/`(\w+)`/g)].map((m) => m[1])) });
	}
	return mutationScopes.get(mutation);
}

// ---- documents -----------------------------------------------------------------------------------------------------------------

const documents = new Map();    // text -> { document, errors }: a client sends the same few texts again and again

// Parses and validates; returns { document } or { errors } as Shopify words them.
function prepare(text) {
	const known = documents.get(text);
	if (known)
		return known;
	let result;
	try {
		const document = graphql.parse(text);
		const errors = graphql.validate(schema, document);
		result = errors.length ? { errors: errors.map((e) => translate(e, document)) } : { document };
	} catch (error) {
		if (!(error instanceof graphql.GraphQLError))
			throw error;
		const at = error.locations ? error.locations[0] : { line: 1, column: 1 };
		const what = /Unexpected <EOF>|found <EOF>/.test(error.message) ? 'unexpected end of file'
			: error.message.replace(/^Syntax Error: /, '');
		result = { errors: [{ message: `syntax error, ${what} at [${at.line}, ${at.column}]`, locations: [at],
			extensions: { code: 'PARSE_ERROR' } }] };
	}
	if (documents.size > 1000)
		documents.clear();
	documents.set(text, result);
	return result;
}

const operationTitle = (node) => (node.kind === 'FragmentDefinition' ? `fragment ${node.name.value}`
	: node.operation + (node.name ? ` ${node.name.value}` : ''));

// Where a node stands in the document: the operation and the response keys of the fields above it, and argument names.
function pathOf(document, wanted) {
	const found = [];
	const trail = [];
	graphql.visit(document, {
		enter(node) {
			if (node.kind === 'OperationDefinition' || node.kind === 'FragmentDefinition')
				trail.push(operationTitle(node));
			else if (node.kind === 'Field')
				trail.push(node.alias ? node.alias.value : node.name.value);
			else if (node.kind === 'Argument' || node.kind === 'ObjectField')
				trail.push(node.name.value);
			else if (node.kind === 'InlineFragment')
				trail.push(node.typeCondition ? `... on ${node.typeCondition.name.value}` : '...');
			if (node === wanted) {
				found.push(...trail);
				return graphql.BREAK;
			}
		},
		leave(node) {
			if (['OperationDefinition', 'FragmentDefinition', 'Field', 'Argument', 'ObjectField', 'InlineFragment'].includes(node.kind))
				trail.pop();
		},
	});
	return found;
}

// graphql-js's wording -> Shopify's: a pattern, then message and extensions made of what it caught.
const WORDINGS = [
	[/^Cannot query field "(.+?)" on type "(.+?)"/, (m) => [`Field '${m[1]}' doesn't exist on type '${m[2]}'`,
		{ code: 'undefinedField', typeName: m[2], fieldName: m[1] }]],
	[/^Unknown argument "(.+?)" on field "(.+?)\.(.+?)"/, (m) => [`Field '${m[3]}' doesn't accept argument '${m[1]}'`,
		{ code: 'argumentNotAccepted', name: m[3], typeName: 'Field', argumentName: m[1] }]],
	[/^Variable "\$(.+?)" is never used(?: in operation "(.+?)")?/,
		(m) => [`Variable $${m[1]} is declared by ${m[2] || 'anonymous query'} but not used`,
		{ code: 'variableNotUsed', variableName: m[1] }]],
	[/^Variable "\$(.+?)" is not defined(?: by operation "(.+?)")?/,
		(m) => [`Variable $${m[1]} is used by ${m[2] || 'anonymous query'} but not declared`,
		{ code: 'variableNotDefined', variableName: m[1] }]],
	[/^Field "(.+?)" argument "(.+?)" of type "(.+?)" is required/, (m) => [`Field '${m[1]}' is missing required arguments: ${m[2]}`,
		{ code: 'missingRequiredArguments', className: 'Field', name: m[1], arguments: m[2] }]],
	[/^Directive "@(.+?)" argument "(.+?)" of type "(.+?)" is required/,
		(m) => [`Directive '${m[1]}' is missing required arguments: ${m[2]}`,
		{ code: 'missingRequiredArguments', className: 'Directive', name: m[1], arguments: m[2] }]],
	[/^Unknown directive "@(.+?)"/, (m) => [`Directive @${m[1]} is not defined`, { code: 'undefinedDirective', directiveName: m[1] }]],
	[/^Field "(.+?)" of type "(.+?)" must have a selection/, (m) => [
		`Field must have selections (field '${m[1]}' returns ${m[2].replace(/[[\]!]/g, '')} but has no selections. `
			+ `Did you mean '${m[1]} { ... }'?)`,
		{ code: 'selectionMismatch', nodeName: `field '${m[1]}'`, typeName: m[2].replace(/[[\]!]/g, '') }]],
	[/^Field "(.+?)" must not have a selection since type "(.+?)"/, (m) => [
		`Selections can't be made on scalars (field '${m[1]}' returns ${m[2].replace(/[[\]!]/g, '')} but has selections)`,
		{ code: 'selectionMismatch', nodeName: `field '${m[1]}'`, typeName: m[2].replace(/[[\]!]/g, '') }]],
	[/^Field "(.+?)" is not defined by type "(.+?)"/, (m) => [`InputObject '${m[2]}' doesn't accept argument '${m[1]}'`,
		{ code: 'argumentNotAccepted', name: m[2], typeName: 'InputObject', argumentName: m[1] }]],
	[/^Field "(.+?)\.(.+?)" of required type "(.+?)" was not provided/, (m) => [
		`Argument '${m[2]}' on InputObject '${m[1]}' is required. Expected type ${m[3]}`,
		{ code: 'missingRequiredInputObjectAttribute', argumentName: m[2], argumentType: m[3], inputObjectType: m[1] }]],
	[/^Unknown type "(.+?)"/, (m) => [`No such type ${m[1]}, so it can't be a fragment condition`,
		{ code: 'undefinedType', typeName: m[1] }]],
	[/^Variable "\$(.+?)" of type "(.+?)" used in position expecting type "(.+?)"/, (m) => [
		`Type mismatch on variable $${m[1]} (${m[2]} / ${m[3]})`, { code: 'variableMismatch', variableName: m[1], typeName: m[2] }]],
];

function translate(error, document) {
	const node = error.nodes && error.nodes[error.message.startsWith('Variable') && error.nodes.length > 1 ? 1 : 0];
	let message = error.message, extensions = { code: 'argumentLiteralsIncompatible' };
	for (const [pattern, say] of WORDINGS) {
		const match = pattern.exec(error.message);
		if (match) {
			[message, extensions] = say(match);
			break;
		}
	}
	return { message, locations: error.locations, path: node ? pathOf(document, node) : undefined, extensions };
}

// ---- variables -----------------------------------------------------------------------------------------------------------------

const EXPLANATIONS = [
	[/^Expected non-nullable type/, () => 'Expected value to not be null'],
	[/^Field "(.+?)" is not defined by type "(.+?)"/, (m) => `Field is not defined on ${m[2]}`],
	[/^Field "?(.+?)"? of required type/, () => 'Expected value to not be null'],
	[/^Expected type "(.+?)"/, (m) => `Expected ${m[1]}`],
	[/^(Int|Float|Boolean|String|ID) cannot represent.*?: (.*)$/, (m) => `Could not coerce value ${m[2]} to ${m[1]}`],
	[/^Value "(.+?)" does not exist in "(.+?)" enum/, (m) =>
		`Expected "${m[1]}" to be one of: ${schema.getType(m[2]).getValues().map((v) => v.name).join(', ')}`],
];

// The operation's variables, coerced; or errors in Shopify's form (INVALID_VARIABLE).
function variablesOf(operation, given) {
	const values = {}, errors = [];
	for (const definition of operation.variableDefinitions || []) {
		const name = definition.variable.name.value;
		const type = graphql.typeFromAST(schema, definition.type);
		const problems = [];
		if (!(name in given)) {
			if (definition.defaultValue)
				values[name] = graphql.valueFromAST(definition.defaultValue, type);
			else if (graphql.isNonNullType(type))
				problems.push({ path: [], explanation: 'Expected value to not be null' });
		} else
			values[name] = graphql.coerceInputValue(given[name], type, (at, value, error) => {
				let explanation = error.message;
				const where = [...at];
				for (const [pattern, say] of EXPLANATIONS) {
					const match = pattern.exec(error.message);
					if (match) {
						explanation = say(match);
						if (error.message.startsWith('Field'))
							where.push(match[1].split('.').pop());
						break;
					}
				}
				problems.push({ path: where, explanation });
			});
		if (problems.length) {
			const details = problems.filter((p) => p.path.length).map((p) => `${p.path.join('.')} (${p.explanation})`).join(', ');
			errors.push({
				message: `Variable $${name} of type ${graphql.print(definition.type)} was provided invalid value`
					+ (details ? ` for ${details}` : ''),
				locations: [graphql.getLocation(definition.loc.source, definition.loc.start)],
				extensions: { code: 'INVALID_VARIABLE', value: given[name] === undefined ? null : given[name], problems },
			});
		}
	}
	return errors.length ? { errors } : { values };
}

// The operation to run: the named one, or the only one.
function operationOf(document, name) {
	const list = document.definitions.filter((d) => d.kind === 'OperationDefinition');
	return name ? list.find((d) => d.name && d.name.value === name) : list.length === 1 ? list[0] : undefined;
}

module.exports = { VERSION, graphql, schema, prepare, variablesOf, operationOf, searchFields, scopesOf };
