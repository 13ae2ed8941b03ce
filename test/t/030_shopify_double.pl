# The Shopify double itself: what every other Shopify test trusts.  Its schema is Shopify's own, it words errors, counts costs, pages,
# searches, bulk operations, compare-and-set and signatures as the facts that are known of the real one say, and it records all effects.
use strict;
use warnings;
use Digest::SHA qw(hmac_sha256_base64);
use HTTP::Tiny;
use IO::Socket::INET;
use JSON::PP;
use MIME::Base64;
use Test::More;
use ProductSync::Shopify;

my $shop = ProductSync::Shopify->start(products => 600, clock => '2026-11-24T12:00:00Z');
my $json = JSON::PP->new->canonical->allow_nonref;

sub ask { my ($query, $variables, %option) = @_; return $shop->graphql($query, $variables, %option) }
sub first_error { my ($answer) = @_; return $answer->{errors}[0] // {} }
sub user_error
{
	my ($answer, $field) = @_;
	my $error = $answer->{data}{$field}{userErrors}[0] // {};
	return join ' | ', map { $_ // '' } $error->{code}, $error->{message};
}
sub cost { my ($answer) = @_; return $answer->{extensions}{cost}{requestedQueryCost} }
sub gid { my ($type, $id) = @_; return "gid://shopify/$type/$id" }

# Digest::SHA leaves out base64's padding.
sub hmac { my ($body, $secret) = @_; my $b64 = hmac_sha256_base64($body, $secret); $b64 .= '=' while length($b64) % 4; return $b64 }

# ---- Shopify's schema --------------------------------------------------------------------------------------------------------------

my $answer = ask('query Wrong { products(first: 1) { nodes { id vendorName } } }');
is_deeply(first_error($answer), { message => "Field 'vendorName' doesn't exist on type 'Product'",
	locations => [ { line => 1, column => 47 } ],
	path => [ 'query Wrong', 'products', 'nodes', 'vendorName' ],
		extensions => { code => 'undefinedField', typeName => 'Product', fieldName => 'vendorName' } },
	'a field that Shopify does not have is refused in its words');
is(scalar @{ $shop->effects->{rejected} }, 1, 'and recorded, so that a test can fail on it');
is(first_error(ask('{ products(first: 1) { nodes { id }'))->{extensions}{code}, 'PARSE_ERROR', 'no GraphQL at all');
is(first_error(ask('{ products(frst: 1) { nodes { id } } }'))->{message}, "Field 'products' doesn't accept argument 'frst'",
	'an argument that is not there');
is(first_error(ask('query Q($n: Int) { shop { id } }', { n => 1 }))->{message}, 'Variable $n is declared by Q but not used',
	'a variable that is not used');
$answer = ask('mutation M($p: ProductCreateInput!) { productCreate(product: $p) { product { id } } }', { p => undef });
is(first_error($answer)->{message}, 'Variable $p of type ProductCreateInput! was provided invalid value',
	'a variable that must not be null');
is_deeply(first_error($answer)->{extensions}, { code => 'INVALID_VARIABLE', value => undef,
	problems => [ { path => [], explanation => 'Expected value to not be null' } ] }, 'with its problems');
is(first_error(ask('{ product(id: "gid://shopify/Product/7000000000001") { onlineStorePreviewUrl } }'))->{extensions}{code},
	'NOT_IN_DOUBLE', 'a field that only the double lacks is an error of its own');
like($shop->effects->{unknown}[0], qr/Product\.onlineStorePreviewUrl/, 'and recorded too');

# ---- cost --------------------------------------------------------------------------------------------------------------------------

is(cost(ask('{ products(first: 250) { nodes { id } } }')), 13, '250 ids cost 13');
is(cost(ask('{ products(first: 100) { nodes { id seo { title } variants(first: 100) { nodes { id
	inventoryItem { id unitCost { amount } } } } } } }')), 281,
	'100 products with 100 variants each: 281');
is(cost(ask('{ products(first: 250) { nodes { id seo { title } variants(first: 100) { nodes { id
	inventoryItem { id unitCost { amount } } } } } } }')), 343, '250: 343');
is(cost(ask('{ products(first: 250) { nodes { id } edges { cursor } } }')), 24, 'nodes and edges count twice');
is(cost(ask('{ productsCount { count } }')), 10, 'productsCount costs 10');
is(cost(ask('{ bulkOperation(id: "gid://shopify/BulkOperation/1") { id status } }')), 1, 'an object costs 1');
is(cost(ask('mutation { productUpdate(product: {id: "gid://shopify/Product/1"}) { product { id title } userErrors { message } } }')), 10,
	'a mutation costs 10');
$answer = ask('{ products(first: 250) { nodes { id variants(first: 250) { nodes { id metafields(first: 250) { nodes { id } } } } } } }');
is(first_error($answer)->{extensions}{code}, 'MAX_COST_EXCEEDED', 'more than 1,000 is never run');
like(first_error($answer)->{message}, qr/^Query cost is 1\d+, which exceeds the single query max cost limit \(1000\)\.\n\nSee /,
	'in these words');

$answer = ask('{ products(first: 250, query: "id:7000000000001") { nodes { id variants(first: 100) { nodes { id } } } } }');
ok($answer->{extensions}{cost}{actualQueryCost} < cost($answer), 'what was not used is given back');

# The vector of the facts: 507 wanted, 493 there, 50 a second come back: 0.28 s.
$shop->control(bucket_size => 1000, restore_rate => 50);
$shop->control(fill_bucket => 7, restore_rate => 0.001);
$answer = ask('{ products(first: 250) { nodes { id } } }');
is_deeply($answer->{errors}, [ { message => 'Throttled',
	extensions => { code => 'THROTTLED', documentation => 'https://shopify.dev/api/usage/rate-limits' } } ], 'an empty bucket: Throttled');
is_deeply($answer->{extensions}{cost}, { requestedQueryCost => 13, actualQueryCost => undef,
	throttleStatus => { maximumAvailable => 1000, currentlyAvailable => 7, restoreRate => 0.001 } },
	'with all that is needed to know how long to wait');
is($answer->{_status}, 200, 'by HTTP 200');
$shop->control(restore_rate => 50, advance => 1);
my $left = ask('{ shop { id } }')->{extensions}{cost}{throttleStatus}{currentlyAvailable};
ok($left >= 56 && $left <= 90, "a second restores 50 points ($left)");
$shop->control(bucket_size => 2000, restore_rate => 100, clock => '2026-11-24T12:00:00Z');

$shop->control(max_cost => 12);
is(first_error(ask('{ products(first: 250) { nodes { id } } }'))->{extensions}{maxCost}, 12, 'a test can make queries too dear');
$shop->control(max_cost => 1000, cost_factor => 3);
is(cost(ask('{ products(first: 250) { nodes { id } } }')), 39, 'and dearer than the formula says');
$shop->control(cost_factor => 1);

# ---- limits ------------------------------------------------------------------------------------------------------------------------

is(first_error(ask('{ products { nodes { id } } }'))->{message}, 'you must provide one of first or last', 'a page without a size');
ok(first_error(ask('{ products(first: 251) { nodes { id } } }'))->{message}, 'a page of 251 is refused');
ok(!ask('{ product(id: "gid://shopify/Product/7000000000001") { variants(first: 2048) { nodes { id } } } }')->{errors},
	'2,048 variants of a single product are not');
my $set = 'mutation Set($input: InventorySetQuantitiesInput!, $key: String!) {
	inventorySetQuantities(input: $input) @idempotent(key: $key) {
	inventoryAdjustmentGroup { id changes { name delta } } userErrors { code field message } } }';
my ($item, $place) = (gid('InventoryItem', 43000000000001), gid('Location', 60000000001));
my @pair = (inventoryItemId => $item, locationId => $place);
$answer = ask($set, { key => 'long', input => { name => 'available', reason => 'correction',
	quantities => [ map { { @pair, quantity => 1, changeFromQuantity => undef } } 1 .. 251 ] } });
is_deeply([ @{ first_error($answer) }{qw(message path)}, first_error($answer)->{extensions}{code} ],
	[ 'The input array size of 251 is greater than the maximum allowed of 250.', [ 'inventorySetQuantities', 'input', 'quantities' ],
		'MAX_INPUT_SIZE_EXCEEDED' ], 'a list of 251');
$answer = ask('mutation M($m: [MetafieldsSetInput!]!) { metafieldsSet(metafields: $m) { userErrors { code message } } }',
	{ m => [ map { { ownerId => gid('Product', 7000000000001), key => "k$_", type => 'single_line_text_field',
		value => 'x' } } 1 .. 26 ] });
is(user_error($answer, 'metafieldsSet'), 'LESS_THAN_OR_EQUAL_TO | Exceeded the maximum metafields input limit of 25.', '26 metafields');

# ---- pages and search --------------------------------------------------------------------------------------------------------------

my $page = 'query Page($after: String, $query: String, $first: Int!, $by: ProductSortKeys) {
	products(first: $first, after: $after, query: $query, sortKey: $by) {
	nodes { id updatedAt } pageInfo { hasNextPage endCursor } } }';
my (%seen, $after, $pages, $last);
do
{
	$answer = ask($page, { first => 250, by => 'UPDATED_AT', after => $after });
	my $products = $answer->{data}{products};
	$seen{ $_->{id} }++ for @{ $products->{nodes} };
	$pages++;
	$last = $products->{pageInfo};
	$after = $last->{endCursor};
} while ($last->{hasNextPage});
is("$pages pages, " . keys(%seen) . ' products', '3 pages, 600 products', 'all products come, each once');
my $cursor = JSON::PP->new->decode(decode_base64($after));
like($cursor->{last_value}, qr/^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{6}$/, 'a cursor knows the microseconds');
is($cursor->{last_id}, 7000000000600, 'and the last row');
like($answer->{data}{products}{nodes}[0]{updatedAt}, qr/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$/, 'which updatedAt does not show');

# A keyset: a row that changes between two pages comes again, none is left out.
$answer = ask($page, { first => 2, by => 'UPDATED_AT' });
$shop->edit({ product => 7000000000001, set => { title => 'Moved to the end' } });
$answer = ask($page, { first => 1, by => 'UPDATED_AT', after => $answer->{data}{products}{pageInfo}{endCursor} });
is($answer->{data}{products}{nodes}[0]{id}, gid('Product', 7000000000003), 'a page goes on after a row, not after a number of rows');

my $since = sub { my ($query) = @_; return ask($page, { first => 250, by => 'UPDATED_AT', query => $query })->{data}{products}{nodes} };
is(scalar @{ $since->("updated_at:>='2026-11-24T12:00:00Z'") }, 1, 'updated_at:>= finds what changed since, its second included');
is(scalar @{ $since->("updated_at:>'2026-11-24T12:00:00Z'") }, 0, 'updated_at:> does not');
is($since->('sku:CWS-100007')->[0]{id}, gid('Product', 7000000000007), 'by sku');
is(scalar @{ $since->('id:>7000000000595') }, 5, 'by a range of ids');
is(scalar @{ $since->('id:7000000000001 OR (sku:CWS-100002-2 AND NOT status:DRAFT)') }, 2, 'with OR, AND, NOT and parentheses');
is(scalar @{ $since->('vendor:Nobody') }, 0, 'nothing found is nothing');

$answer = ask($page, { first => 250, query => 'updated_since:2026-11-24' });
is(scalar @{ $answer->{data}{products}{nodes} }, 250, 'a search field that is none is ignored: ALL rows come');
is_deeply($answer->{extensions}{search}[0]{warnings}, [ { field => 'updated_since', message => 'Invalid search field for this query.',
	code => 'invalid_field' } ], 'and a warning says so');
is_deeply($answer->{extensions}{search}[0]{path}, ['products'], 'where it was');

# ---- the search index lags behind --------------------------------------------------------------------------------------------------

my $first = $shop->control(index_hold => \1, advance => 60) && '2026-11-24T12:01:00Z';
$shop->edit({ product => 7000000000002, set => { title => 'Not indexed yet' } },
	{ product => 7000000000004, set => { title => 'Neither' } });
$shop->edit({ add => { title => 'New', variants => [ { sku => 'NEW-1' } ] } });
is(scalar @{ $since->("updated_at:>='$first'") }, 0, 'a search misses what the index has not seen');
is(ask('{ product(id: "gid://shopify/Product/7000000000002") { title } }')->{data}{product}{title}, 'Not indexed yet',
	'a look-up does not');
is(scalar @{ $since->('sku:NEW-1') }, 0, 'nor are new products found');
$shop->control(index_advance => 1);
is(scalar @{ $since->("updated_at:>='$first'") }, 1, 'the index catches up step by step');
$shop->control(index_advance => \1, index_hold => \0);
is(scalar @{ $since->("updated_at:>='$first'") }, 3, 'until all is found');

# ---- compare-and-set, idempotency --------------------------------------------------------------------------------------------------

my $stock = sub { $shop->product(7000000000001)->{variants}[0]{stock}{60000000001}{available} };
my $was = $stock->();
my $quantities = sub { my ($to, $from) = @_; return { name => 'available', reason => 'correction',
	quantities => [ { @pair, quantity => $to, changeFromQuantity => $from } ] } };
$answer = ask($set, { key => 'a', input => $quantities->($was + 5, $was) });
is_deeply($answer->{data}{inventorySetQuantities}{userErrors}, [], 'a quantity that is as expected is set');
my $group = $answer->{data}{inventorySetQuantities}{inventoryAdjustmentGroup};
is($stock->(), $was + 5, 'to the new one');
is(user_error(ask($set, { key => 'b', input => $quantities->($was + 9, $was) }), 'inventorySetQuantities'),
	'CHANGE_FROM_QUANTITY_STALE | The changeFromQuantity value does not match persisted value.', 'one that moved is not');
is($stock->(), $was + 5, 'and stays');
my $count = $shop->effects->{counts}{'app.inventory'};
$answer = ask($set, { key => 'a', input => $quantities->($was + 5, $was) });
is($json->encode($answer->{data}{inventorySetQuantities}{inventoryAdjustmentGroup}), $json->encode($group),
	'the same key and parameters again: the same answer');
is($shop->effects->{counts}{'app.inventory'}, $count, 'and no second effect');
is(user_error(ask($set, { key => 'a', input => $quantities->($was + 6, $was + 5) }), 'inventorySetQuantities'),
	'IDEMPOTENCY_KEY_PARAMETER_MISMATCH | The same idempotency key cannot be used with different operation parameters.',
		'the same key for something else');
$answer = ask('mutation M($input: InventorySetQuantitiesInput!) { inventorySetQuantities(input: $input) { userErrors { message } } }',
	{ input => $quantities->(1, 1) });
is_deeply([ first_error($answer)->{message}, first_error($answer)->{extensions}{code} ],
	[ 'The @idempotent directive is required for this mutation but was not provided.', 'BAD_REQUEST' ], 'no directive');
$answer = ask($set, { key => 'c', input => { name => 'available', reason => 'correction', quantities => [ { @pair, quantity => 1 } ] } });
is_deeply([ first_error($answer)->{message}, first_error($answer)->{extensions}{code} ],
	[ 'InventoryQuantityInput must include the following argument: changeFromQuantity.', 'INVALID_FIELD_ARGUMENTS' ],
		'no changeFromQuantity');
is(user_error(ask($set, { key => 'd', input => { %{ $quantities->(1, undef) }, name => 'committed' } }), 'inventorySetQuantities'),
	"INVALID_NAME | The quantity name must be either 'available' or 'on_hand'.", 'a name that cannot be set');
$answer = ask($set, { key => 'e', input => { name => 'available', reason => 'correction',
	quantities => [ { @pair, quantity => 1, changeFromQuantity => undef },
	{ @pair, inventoryItemId => gid('InventoryItem', 1), quantity => 1, changeFromQuantity => undef } ] } });
is(user_error($answer, 'inventorySetQuantities'), 'INVALID_INVENTORY_ITEM | The specified inventory item could not be found.',
	'one bad item');
is($stock->(), $was + 5, 'fails the whole batch');
my $adjust = 'mutation A($input: InventoryAdjustQuantitiesInput!, $key: String!) {
	inventoryAdjustQuantities(input: $input) @idempotent(key: $key) { inventoryAdjustmentGroup { id } userErrors { code message } } }';
$answer = ask($adjust, { key => 'f', input => { name => 'available', reason => 'correction',
	changes => [ { @pair, delta => 0, changeFromQuantity => undef } ] } });
is_deeply($answer->{data}{inventoryAdjustQuantities}, { inventoryAdjustmentGroup => undef, userErrors => [] },
	'a change by nothing: no group, no error');

my $metafield = 'mutation M($m: [MetafieldsSetInput!]!) { metafieldsSet(metafields: $m) { metafields { compareDigest }
	userErrors { code message } } }';
my %field = (ownerId => gid('Product', 7000000000005), namespace => 'custom', key => 'note', type => 'single_line_text_field');
my $digest = ask($metafield, { m => [ { %field, value => 'one',
	compareDigest => undef } ] })->{data}{metafieldsSet}{metafields}[0]{compareDigest};
ok($digest, 'compareDigest null makes a metafield');
my $stale = 'STALE_OBJECT | The resource has been updated since it was loaded. Try again with an updated `compareDigest` value.';
is(user_error(ask($metafield, { m => [ { %field, value => 'two', compareDigest => undef } ] }), 'metafieldsSet'), $stale, 'but not twice');
$shop->edit({ product => 7000000000005, metafields => [ { namespace => 'custom', key => 'note', value => 'by the merchant' } ] });
is(user_error(ask($metafield, { m => [ { %field, value => 'two', compareDigest => $digest } ] }), 'metafieldsSet'), $stale,
	'and not over what changed meanwhile');

# ---- products ----------------------------------------------------------------------------------------------------------------------

$answer = ask('mutation M($p: ProductUpdateInput!) { productUpdate(product: $p) {
	product { descriptionHtml tags updatedAt } userErrors { message } } }',
	{ p => { id => gid('Product', 7000000000006), descriptionHtml => '<P onclick="x()">a<BR/>b<script>alert(1)</script></P>',
		tags => [ 'b', 'A', 'a' ] } });
is_deeply($answer->{data}{productUpdate}{product}, { descriptionHtml => '<p>a<br>b</p>', tags => [ 'A', 'b' ],
	updatedAt => '2026-11-24T12:01:00Z' }, 'what comes back may differ from what was written');
my $updated = $shop->product(7000000000006)->{updated};
ask('mutation M($p: ProductUpdateInput!) { productUpdate(product: $p) { product { id } } }',
	{ p => { id => gid('Product', 7000000000006), tags => [ 'b', 'A' ] } });
is($shop->product(7000000000006)->{updated}, $updated, 'a write that changes nothing moves no time');
$shop->edit({ order => { sku => 'CWS-100006', quantity => 1 } });
ok($shop->product(7000000000006)->{updated} > $updated, 'an order does');
my $variants = 'mutation V($id: ID!, $v: [ProductVariantsBulkInput!]!) {
	productVariantsBulkUpdate(productId: $id, variants: $v) {
		productVariants { id price inventoryItem { sku } } userErrors { code message } } }';
$answer = ask($variants, { id => gid('Product', 7000000000007),
	v => [ { id => gid('ProductVariant', 41000000000013), price => '12.5', inventoryItem => { sku => 'CHANGED' } } ] });
is_deeply($answer->{data}{productVariantsBulkUpdate}{productVariants}[0],
	{ id => gid('ProductVariant', 41000000000013), price => '12.50', inventoryItem => { sku => 'CHANGED' } }, 'variants are updated');
is(user_error(ask($variants, { id => gid('Product', 1), v => [] }), 'productVariantsBulkUpdate'),
	'PRODUCT_DOES_NOT_EXIST | Product does not exist', 'those of no product are not');
$answer = ask('mutation S($i: ProductSetInput!) {
	productSet(identifier: {id: "gid://shopify/Product/7000000000005"}, input: $i) {
		product { variants(first: 5) { nodes { title } } metafields(first: 5) { nodes { key } } } userErrors { message } } }',
	{ i => { productOptions => [ { name => 'Pack', values => [ { name => 'Size 1' } ] } ],
		variants => [ { optionValues => [ { optionName => 'Pack', name => 'Size 1' } ] } ], metafields => [] } });
is_deeply($answer->{data}{productSet}{product}, { variants => { nodes => [ { title => 'Size 1' } ] }, metafields => { nodes => [] } },
	'productSet deletes what is not in its lists');
ask('mutation { productDelete(input: {id: "gid://shopify/Product/7000000000008"}) { deletedProductId } }');
is(ask('{ events(first: 5, query: "subject_type:PRODUCT action:destroy") {
	nodes { ... on BasicEvent { subjectId } } } }')->{data}{events}{nodes}[0]{subjectId},
	gid('Product', 7000000000008), 'a deletion is an event');

# ---- bulk operations ---------------------------------------------------------------------------------------------------------------

my $run = 'mutation B($q: String!) { bulkOperationRunQuery(query: $q) { bulkOperation { id status } userErrors { field code message } } }';
my $everything = '{ products { edges { node { id title variants { edges { node { id sku
	inventoryItem { id inventoryLevels { edges { node { id quantities(names: ["available"]) { quantity } } } } } } } } } } } }';
sub bulk_state
{
	my ($id) = @_;
	return ask('query B($id: ID!) {
		bulkOperation(id: $id) { id status errorCode objectCount rootObjectCount fileSize url partialDataUrl } }', { id => $id })->{data}{bulkOperation};
}


sub bulk
{
	my ($query) = @_;
	my $id = ask($run, { q => $query })->{data}{bulkOperationRunQuery}{bulkOperation}{id};
	my $state;
	for (1 .. 500)
	{
		$state = bulk_state($id);
		last unless $state->{status} =~ /^(CREATED|RUNNING|CANCELING)$/;
		select undef, undef, undef, 0.02;
	}
	return $state;
}
sub lines { my ($url) = @_; return map { decode_json($_) } split /\n/, HTTP::Tiny->new->get($url)->{content} }

my $state = bulk($everything);
is($state->{status}, 'COMPLETED', 'a bulk operation comes to its end');
my @lines = lines($state->{url});
is($state->{objectCount}, '' . @lines, 'objectCount is the number of lines');
is($json->encode($state->{objectCount}), "\"$state->{objectCount}\"", 'and a string');
my (%known, $orphans);
for my $line (@lines)
{
	$orphans++ if defined $line->{__parentId} && !$known{ $line->{__parentId} };
	$known{ $line->{id} } = 1;
}
ok(!$orphans, 'children come after their parents');
is_deeply($lines[1], { id => gid('ProductVariant', 41000000000001), sku => 'CWS-100001', inventoryItem => { id => $item },
	__parentId => gid('Product', 7000000000001) }, 'a variant knows its product');
is($lines[2]{__parentId}, gid('ProductVariant', 41000000000001), 'a level the variant in whose item it stands');
$shop->control(bulk_adjacent => \0);
my @apart = lines(bulk($everything)->{url});
is(join("\n", sort map { $json->encode($_) } @apart), join("\n", sort map { $json->encode($_) } @lines),
	'the same lines come when children are not beside their parents');
isnt($apart[1]{id}, $lines[1]{id}, 'in another order');
$shop->control(bulk_adjacent => \1);
is(bulk('{ products(query: "vendor:Nobody") { edges { node { id } } } }')->{url}, undef, 'nothing found: no url');
like(user_error(ask($run, { q => '{ products { nodes { id } } }' }), 'bulkOperationRunQuery'),
	qr/^INVALID \| All connection fields in a bulk query must select their contents using 'edges' > 'node'/, 'nodes are not allowed here');
is(user_error(ask($run, { q => '' }), 'bulkOperationRunQuery'), 'INVALID | Invalid bulk query: syntax error, unexpected end of file',
	'nor is nothing');
$shop->control(bulk_next => ['FAILED'], bulk_fail_after => 7);
$state = bulk($everything);
is_deeply([ @$state{qw(status errorCode url objectCount)} ], [ 'FAILED', 'INTERNAL_SERVER_ERROR', undef, '7' ], 'one that fails says so');
is(scalar(lines($state->{partialDataUrl})), 7, 'and gives what it had');
$shop->control(bulk_lose_next => 2);
$state = bulk('{ products { edges { node { id } } } }');
is($state->{objectCount} - lines($state->{url}), 2, 'lines can be lost without a word but objectCount');
$shop->control(bulk_hold => \1);
my @ids = map { ask($run, { q => $everything })->{data}{bulkOperationRunQuery}{bulkOperation}{id} } 1 .. 5;
is(user_error(ask($run, { q => $everything }), 'bulkOperationRunQuery'),
	'OPERATION_IN_PROGRESS | A bulk query operation for this app and shop is already in progress: ' . join(', ', @ids) . '.',
	'the sixth at once is refused');
ask('mutation C($id: ID!) { bulkOperationCancel(id: $id) { bulkOperation { status } userErrors { message } } }', { id => $ids[0] });
$shop->control(bulk_hold => \0);
for (1 .. 200) { last if bulk_state($ids[4])->{status} eq 'COMPLETED' && bulk_state($ids[0])->{status} eq 'CANCELED'; select undef, undef,
	undef, 0.02 }
is(bulk_state($ids[0])->{status}, 'CANCELED', 'one that is cancelled is that');
$answer = ask('mutation C($id: ID!) { bulkOperationCancel(id: $id) { userErrors { message } } }', { id => $ids[4] });
is($answer->{data}{bulkOperationCancel}{userErrors}[0]{message}, 'A bulk operation cannot be canceled when it is completed',
	'one that is done cannot be');
my $url = bulk_state($ids[4])->{url};
$shop->control(bulk_cut_next => 1000);
my $socket = IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $shop->port);    # HTTP::Tiny would ask again by itself
print $socket 'GET ' . ($url =~ s{^http://[^/]+}{}r) . " HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n";
my $part = do { local $/; <$socket> };
is(length($part =~ s/^.*?\r\n\r\n//sr), 1000, 'a download can break off');
my $rest = HTTP::Tiny->new->get($url, { headers => { Range => 'bytes=1000-' } });
is("$rest->{status} " . length($rest->{content}), '206 ' . (bulk_state($ids[4])->{fileSize} - 1000), 'and go on from there');
$shop->control(advance => 8 * 86400);
isnt(HTTP::Tiny->new->get($url)->{status}, 200, 'after a week the url is dead');

# ---- webhooks ----------------------------------------------------------------------------------------------------------------------

is($shop->ask('/_sign', { secret => 'test_secret_key', body => '{"foo": "bar"}' })->{hmac}, 'B23tXN681gZ0qIWNRrgtzBE9XSDo5yaUu6wfmhu3a7g=',
	'the pinned signature of shopify-app-js');
is($shop->ask('/_sign', { secret => 'hush', body => '"my secret message"' })->{hmac}, 'hMTq0K2x7oyOjoBwGYeTj5oxfnaVYXzbanUG9aajpKI=',
	'and of go-shopify');
my $subscribe = 'mutation W($t: WebhookSubscriptionTopic!, $w: WebhookSubscriptionInput!) {
	webhookSubscriptionCreate(topic: $t, webhookSubscription: $w) { webhookSubscription { id uri } userErrors { message } } }';
ask($subscribe, { t => $_, w => { uri => 'https://sync.example.com/hook' } })
	for qw(PRODUCTS_CREATE PRODUCTS_UPDATE PRODUCTS_DELETE INVENTORY_LEVELS_UPDATE BULK_OPERATIONS_FINISH);
is(ask($subscribe, { t => 'PRODUCTS_UPDATE', w => { uri =>
	'https://sync.example.com/hook' } })->{data}{webhookSubscriptionCreate}{userErrors}[0]{message},
	'Address for this topic has already been taken', 'a subscription is there once');
$shop->edit({ product => 7000000000010, set => { title => 'First' } });
$shop->edit({ product => 7000000000010, set => { title => 'Second' } });
my @hooks = $shop->webhooks;
is(scalar @hooks, 1, 'two quick changes are one webhook');
is(decode_json($hooks[0]{body})->{title}, 'Second', 'that tells the state when it was made');
my %header = %{ $hooks[0]{headers} };
is($header{'X-Shopify-Hmac-Sha256'}, hmac($hooks[0]{body}, 'hush'), 'signed over its bytes');
is($header{'X-Shopify-Topic'}, 'products/update', 'its topic');
ok(!(grep { !$header{$_} } map { "X-Shopify-$_" } qw(Shop-Domain API-Version Webhook-Id Event-Id Triggered-At)), 'and the other headers');
$shop->edit({ product => 7000000000011, variants => { 'CWS-100011' => { stock => { 60000000001 => 99 } } } });
is(join(' ', sort map { $_->{topic} } $shop->webhooks), 'INVENTORY_LEVELS_UPDATE PRODUCTS_UPDATE', 'stock moves the product too');
$shop->edit({ product => 7000000000012, delete => \1 });
is_deeply(decode_json(($shop->webhooks)[0]{body}), { id => 7000000000012 }, 'of what is deleted only the number is left');
$shop->edit({ product => 7000000000000 + $_, set => { title => "T$_" } }) for 20 .. 29;
@hooks = map { decode_json($_->{body})->{id} } $shop->webhooks(order => 'reverse', double => 0.5, lose => 0.3);
my %times;
$times{$_}++ for @hooks;
ok(keys(%times) < 10 && (grep { $_ > 1 } values %times) && $hooks[0] > $hooks[-1], "they can be lost, doubled and out of order (@hooks)");
bulk('{ locations { edges { node { id } } } }');
is(decode_json(($shop->webhooks(topic => 'BULK_OPERATIONS_FINISH'))[0]{body})->{status}, 'completed',
	'the end of a bulk operation is told too, in small letters');

$shop->edit({ product => 7000000000040, set => { title => "Caf\x{e9} \x{2192} \x{1f600}" } });
my ($hook) = $shop->webhooks(topic => 'PRODUCTS_UPDATE');
is($hook->{headers}{'X-Shopify-Hmac-Sha256'}, hmac($hook->{body}, 'hush'), 'letters beyond ASCII are signed as their bytes');

# Sent over HTTP: what is not answered with 2xx comes again, the same.
my $listener = IO::Socket::INET->new(Listen => 5, LocalAddr => '127.0.0.1', LocalPort => 0);
sub receive
{
	my ($status) = @_;
	my $client = $listener->accept;
	my ($head, $body) = ('', '');
	while (my $line = <$client>) { last if $line eq "\r\n"; $head .= $line }
	read $client, $body, $head =~ /^Content-Length: (\d+)/mi ? $1 : 0;
	print $client "HTTP/1.1 $status OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
	close $client;
	return { body => $body, map { /^([^:]+): (.*)\r/ ? (lc $1, $2) : () } split /^/, $head };
}
ask($subscribe, { t => 'PRODUCTS_UPDATE', w => { uri => 'http://127.0.0.1:' . $listener->sockport . '/hook',
	includeFields => [ 'id', 'updated_at' ] } });
$shop->control(webhook_mode => 'send', webhook_retry_ms => 10);
$shop->edit({ product => 7000000000041, set => { title => 'Sent' } });
my ($refused, $taken) = (receive(500), receive(200));
is($taken->{body}, $refused->{body}, 'a webhook that is refused comes again');
is($taken->{'x-shopify-webhook-id'}, $refused->{'x-shopify-webhook-id'}, 'with its id');
is_deeply([ sort keys %{ decode_json($taken->{body}) } ], [ 'id', 'updated_at' ], 'and the fields that were asked for');
$shop->edit({ product => 7000000000042, set => { title => 'Refused' } });
receive(503) for 1 .. 9;
for (1 .. 100) { last if $shop->effects->{webhooks}{subscriptions_deleted}; select undef, undef, undef, 0.02 }
is($shop->effects->{webhooks}{subscriptions_deleted}, 1, 'after 8 retries the subscription is gone');
$shop->control(webhook_mode => 'hold');

# ---- who may ask, and what goes wrong ----------------------------------------------------------------------------------------------

my $shop_name = '{ shop { name } }';
is(ask($shop_name, {}, token => 'wrong')->{_status}, 401, 'a wrong token');
my $http = HTTP::Tiny->new;
my $form = { grant_type => 'client_credentials', client_id => 'client', client_secret => 'hush' };
my $grant = decode_json($http->post_form($shop->base_url . 'admin/oauth/access_token', $form)->{content});
is($grant->{expires_in}, 86399, 'the grant gives a token for a day');
is(ask($shop_name, {}, token => $grant->{access_token})->{data}{shop}{name}, 'Test Shop', 'that is good');
is($http->post_form($shop->base_url . 'admin/oauth/access_token', { %$form, client_secret => 'no' })->{status}, 400,
	'a wrong secret gives none');
$shop->control(advance => 86400);
is(ask($shop_name, {}, token => $grant->{access_token})->{_status}, 401, 'a day later it is not');
for my $status (402, 403, 423, 430, 500, 502, 503)
{
	$shop->control(status_next => [$status]);
	is(ask($shop_name)->{_status}, $status, "HTTP $status when asked for");
}
$shop->control(status_next => [429], retry_after => 2);
is(ask($shop_name)->{_headers}{'retry-after'}, '2.0', '429 says how many seconds to wait');
$shop->control(internal_error_next => 1);
$answer = ask($shop_name);
is_deeply([ $answer->{_status}, $answer->{data}, first_error($answer)->{extensions}{code} ], [ 200, undef, 'INTERNAL_SERVER_ERROR' ],
	'an internal error is HTTP 200 without data');
$shop->control(denied => { 'InventoryItem.unitCost' => 'read_inventory' });
$answer = ask('{ products(first: 1) { nodes { id variants(first: 1) { nodes { sku inventoryItem { unitCost { amount } } } } } } }');
is(first_error($answer)->{message}, 'Access denied for unitCost field. Required access: `read_inventory` access scope.',
	'a field without access');
is_deeply(first_error($answer)->{path}, [ 'products', 'nodes', 0, 'variants', 'nodes', 0, 'inventoryItem', 'unitCost' ],
	'with the path to it');
is($answer->{data}{products}{nodes}[0]{variants}{nodes}[0]{inventoryItem}{unitCost}, undef, 'is null in data that is otherwise there');
is(bulk('{ productVariants { edges { node { id inventoryItem { unitCost { amount } } } } } }')->{errorCode}, 'ACCESS_DENIED',
	'a bulk operation fails by it');
$shop->control(denied => {});
is(ask($shop_name)->{_headers}{'x-shopify-api-version'}, '2026-10', 'the version that answered');
is(ask($shop_name, {}, version => '2024-01')->{_headers}{'x-shopify-api-version'}, '2026-10',
	'which is not the retired one that was asked for');
$shop->control(api_version => '2027-01');
is(ask($shop_name)->{_headers}{'x-shopify-api-version'}, '2027-01', 'or whatever the test wants');

# ---- effects -----------------------------------------------------------------------------------------------------------------------

$shop->reset;
$shop->edit({ product => 7000000000030, set => { title => 'Told' } });
ask('mutation M($p: ProductUpdateInput!) { productUpdate(product: $p) { product { id } } }',
	{ p => { id => gid('Product', 7000000000031), title => 'Written' } });
my $effects = $shop->effects;
is_deeply($effects->{counts}, { 'merchant.product.update' => 1, 'app.product.update' => 1 }, 'every effect is counted, by who made it');
is($effects->{writes}[1]{fields}{title}[1], 'Written', 'with what it changed');
is($effects->{mutations}{productUpdate}, 1, 'and so are requests');
$shop->blameless('nothing was refused since');

done_testing;
