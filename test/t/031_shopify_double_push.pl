# What a push of changes relies on in the Shopify double: staged uploads and bulk mutations, stock at new locations, images, several
# mutations in one request, writes whose answer is lost, and that every effect tells who made it and how.
use strict;
use warnings;
use HTTP::Tiny;
use JSON::PP;
use Test::More;
use Time::HiRes qw(time sleep);
use ProductSync::Shopify;

my $shop = ProductSync::Shopify->start(products => 2000, clock => '2026-11-24T12:00:00Z');
my $json = JSON::PP->new->canonical->allow_nonref;
my $http = HTTP::Tiny->new(timeout => 60);

sub ask { my ($query, $variables, %option) = @_; return $shop->graphql($query, $variables, %option) }
sub first_error { my ($answer) = @_; return $answer->{errors}[0] // {} }
sub user_error
{
	my ($answer, $field, $list) = @_;
	my $error = $answer->{data}{$field}{ $list // 'userErrors' }[0] // {};
	return join ' | ', map { $_ // '' } $error->{code}, join('.', @{ $error->{field} // [] }), $error->{message};
}
sub gid { my ($type, $id) = @_; return "gid://shopify/$type/$id" }
sub product_gid { return gid('Product', 7000000000000 + $_[0]) }
sub variant_gid { return gid('ProductVariant', 40999999999999 + 2 * $_[0]) }     # the first of a product

# ---- staged uploads ----------------------------------------------------------------------------------------------------------------

my $stage = 'mutation Stage($input: [StagedUploadInput!]!) { stagedUploadsCreate(input: $input) {
	stagedTargets { url resourceUrl parameters { name value } } userErrors { field message } } }';
my %file = (resource => 'BULK_MUTATION_VARIABLES', filename => 'prices.jsonl', mimeType => 'text/jsonl', httpMethod => 'POST');

sub target { return ask($stage, { input => [ {%file} ] })->{data}{stagedUploadsCreate}{stagedTargets}[0] }
sub key_of { my ($target) = @_; return (grep { $_->{name} eq 'key' } @{ $target->{parameters} })[0]{value} }

# Posts parts, [name, value] each, as a form.
sub post
{
	my ($url, @parts) = @_;
	my $body = join('', map { "--XX\r\nContent-Disposition: form-data; name=\"$_->[0]\""
		. ($_->[0] eq 'file' ? '; filename="f.jsonl"' : '') . "\r\n\r\n$_->[1]\r\n" } @parts) . "--XX--\r\n";
	return $http->post($url, { headers => { 'Content-Type' => 'multipart/form-data; boundary=XX' }, content => $body });
}
sub parts { my ($target) = @_; return map { [ $_->{name}, $_->{value} ] } @{ $target->{parameters} } }

# Uploads lines (hashes, or text as it is); returns the path.
sub upload
{
	my (@lines) = @_;
	my $target = target();
	my $answer = post($target->{url}, parts($target), [ file => join '', map { (ref $_ ? $json->encode($_) : $_) . "\n" } @lines ]);
	die "upload: $answer->{status} $answer->{content}" if $answer->{status} != 201;
	return key_of($target);
}

my $answer = ask($stage, { input => [ {%file} ] });
is($answer->{extensions}{cost}{requestedQueryCost}, 11, 'a target for an upload costs 11');
my $target = $answer->{data}{stagedUploadsCreate}{stagedTargets}[0];
is_deeply([ map { $_->{name} } @{ $target->{parameters} } ], [ qw(Content-Type success_action_status acl key x-goog-date x-goog-credential
	x-goog-algorithm x-goog-signature policy) ], 'it has the parameters that Google wants');
like(key_of($target), qr{^tmp/\d+/bulk/[0-9a-f-]{36}/prices\.jsonl$}, 'the key is the path of the file');
my @parts = parts($target);
my $done = post($target->{url}, @parts, [ file => "{}\n" ]);
is($done->{status}, 201, 'parameters first, the file last: taken');
like($done->{content}, qr{<PostResponse><Location>.*<Key>\Q@{[ key_of($target) ]}\E</Key>}, 'and told where');
is_deeply([ map { $_->{bytes} } @{ $shop->effects->{uploads} } ], [3], 'and recorded');
is(post($target->{url}, [ file => "{}\n" ], @parts)->{status}, 403, 'the file first: what comes after it is not read');
like(post($target->{url}, (grep { $_->[0] ne 'acl' } @parts), [ file => 'x' ])->{content}, qr/<Code>InvalidPolicyDocument/,
	'a parameter that is missing');
is(post($target->{url}, (map { [ $_->[0], $_->[0] eq 'x-goog-signature' ? 'bad' : $_->[1] ] } @parts), [ file => 'x' ])->{status}, 403,
	'a wrong signature');
is(post($target->{url}, @parts)->{status}, 400, 'no file');
like(post($target->{url}, @parts, [ file => '' ])->{content}, qr/<Code>EntityTooSmall/, 'an empty one');
like(post($target->{url}, @parts, [ file => 'x' x 104_857_601 ])->{content}, qr/<Code>EntityTooLarge/, 'one of more than 100 MB');
$shop->control(upload_status_next => [503]);
is(post($target->{url}, @parts, [ file => 'x' ])->{status}, 503, 'Google can fail too');
is(user_error(ask($stage, { input => [ { %file, mimeType => 'text/csv' } ] }), 'stagedUploadsCreate'),
	' | input.0.mimeType | prices.jsonl: (text/csv) is not a recognized format', 'another type of file');
$shop->blameless('all this is understood');
is(first_error(ask($stage, { input => [ { %file, resource => 'IMAGE' } ] }))->{extensions}{code}, 'NOT_IN_DOUBLE',
	'uploads for something else are not in the double');

# ---- bulk mutations: what is refused -----------------------------------------------------------------------------------------------

my $run = 'mutation Run($mutation: String!, $path: String!, $client: String) {
	bulkOperationRunMutation(mutation: $mutation, stagedUploadPath: $path, clientIdentifier: $client) {
		bulkOperation { id status type query } userErrors { field code message } } }';
my $prices = 'mutation Prices($id: ID!, $variants: [ProductVariantsBulkInput!]!) {
	productVariantsBulkUpdate(productId: $id, variants: $variants) { productVariants { id price } userErrors { field code message } } }';
sub price_line { my ($n, $price) = @_; return { id => product_gid($n), variants => [ { id => variant_gid($n), price => $price } ] } }

sub refused { my ($mutation, $path, $client) = @_;
	return user_error(ask($run, { mutation => $mutation, path => $path, client => $client }), 'bulkOperationRunMutation') }

my $path = upload(price_line(1, '5.00'));
is(refused('mutation { not parseable', $path),
	'INVALID_MUTATION |  | Failed to parse the mutation - syntax error, unexpected end of file at [1, 25]', 'no GraphQL');
is(refused('query { shop { id } }', $path), 'INVALID_MUTATION |  | Invalid operation type. Only `mutation` operations are supported.',
	'a query');
is(refused('mutation M($p: ProductUpdateInput!) { a: productUpdate(product: $p) { product { id } }
	b: productUpdate(product: $p) { product { id } } }', $path), ' | mutation | You must specify a single top level mutation.', 'two roots');
is(refused('mutation M($id: ID!) { bulkOperationCancel(id: $id) { bulkOperation { id } } }', $path),
	' | mutation | You must use an allowed mutation name.', 'a bulk operation in a bulk operation');
is(refused('mutation M($p: ProductUpdateInput!) { productUpdate(product: $p) { product { variants(first: 1) { nodes { id } }
	media(first: 1) { nodes { id } } } } }', $path), ' | mutation | Bulk mutations cannot contain more than 1 connection.', 'two connections');
like(refused('mutation M($p: ProductUpdateInput!) { productUpdate(product: $p) { product { nonsense } } }', $path),
	qr/^INVALID_MUTATION \| mutation \| .*Field 'nonsense' doesn't exist on type 'Product'/, 'a field that Shopify does not have');
is(scalar @{ $shop->effects->{rejected} }, 2, 'what the schema refuses is recorded, as for any request');
is(refused($prices, $path, 'short'), 'INVALID_MUTATION | clientIdentifier | is too short (minimum is 10 characters)', 'a short identifier');
my $no_file = 'NO_SUCH_FILE |  | The JSONL file could not be found. Try uploading the file again, and check that you\'ve entered the URL '
	. 'correctly for the stagedUploadPath mutation argument.';
is(refused($prices, "tmp/72345678/bulk/nothing.jsonl"), $no_file, 'a path where nothing is');
is(refused($prices, key_of(target())), $no_file, 'a target to which nothing was uploaded');
is(refused($prices, upload('this is no JSON')), 'INVALID_STAGED_UPLOAD_FILE |  | Unexpected file structure - expected JSONL', 'no JSONL');
is(refused($prices, upload('  ')), 'INVALID_STAGED_UPLOAD_FILE |  | The input file is empty.', 'nothing but space');
$shop->control(advance => 8 * 86400);
is(refused($prices, $path), $no_file, 'a file that is too old');
$shop->reset;

# ---- bulk mutations: what they do --------------------------------------------------------------------------------------------------

sub start
{
	my ($mutation, @lines) = @_;
	my $payload = ask($run, { mutation => $mutation, path => upload(@lines) })->{data}{bulkOperationRunMutation};
	return $payload->{bulkOperation} ? $payload->{bulkOperation}{id} : die $json->encode($payload);
}
sub state_of
{
	my ($id) = @_;
	return ask('query B($id: ID!) { bulkOperation(id: $id) { id status type errorCode objectCount rootObjectCount fileSize url
		partialDataUrl } }', { id => $id })->{data}{bulkOperation};
}
sub finish
{
	my ($id) = @_;
	my $state;
	for (1 .. 2000)
	{
		$state = state_of($id);
		last unless $state->{status} =~ /^(CREATED|RUNNING|CANCELING)$/;
		sleep 0.01;
	}
	return $state;
}
sub results { my ($url) = @_; return map { decode_json($_) } split /\n/, $http->get($url)->{content} }
sub number { my ($id) = @_; return ($id =~ /(\d+)$/)[0] }

my $bucket = ask('{ shop { id } }')->{extensions}{cost}{throttleStatus}{currentlyAvailable};
my $begun = time;
my $operation = start($prices, map { price_line($_, sprintf '%.2f', $_ / 100) } 1 .. 2000);
my ($longest, $state) = (0);
do
{
	my $asked = time;
	$state = state_of($operation);
	$longest = time - $asked if time - $asked > $longest;
	sleep 0.005;
} while ($state->{status} =~ /^(CREATED|RUNNING)$/);
my $took = time - $begun;
is_deeply([ @$state{qw(status type errorCode objectCount rootObjectCount partialDataUrl)} ],
	[ 'COMPLETED', 'MUTATION', undef, '2000', '2000', undef ], 'a bulk mutation of 2,000 lines comes to its end');
cmp_ok($took, '<', 10, sprintf('in seconds (%.1f)', $took));
cmp_ok($longest, '<', 1, sprintf('the server answers meanwhile (%.3f s)', $longest));
my @lines = results($state->{url});
is(length $http->get($state->{url})->{content}, $state->{fileSize}, 'fileSize is the size of the result');
is_deeply([ sort { $a <=> $b } map { $_->{__lineNumber} } @lines ], [ 0 .. 1999 ], 'each line has a result, numbers begin at 0');
isnt(join(' ', map { $_->{__lineNumber} } @lines), join(' ', 0 .. 1999), 'in no fixed order');
is_deeply((grep { $_->{__lineNumber} == 4 } @lines)[0], { __lineNumber => 4, data => { productVariantsBulkUpdate => {
	productVariants => [ { id => variant_gid(5), price => '0.05' } ], userErrors => [] } } }, 'a result is the data of its mutation');
is($shop->product(7000000000005)->{variants}[0]{price}, '0.05', 'and so is the shop');
my $effects = $shop->effects;
is_deeply($effects->{counts}, { 'app.product.update' => 2000 }, 'all effects are recorded');
my ($write) = @{ $shop->writes(product => 7000000000005, bulk => number($operation)) };
is_deeply([ @$write{qw(by mutation bulk line variants)}, $write->{fields}{'variants[41000000000009].price'}[1] ],
	[ 'app', 'productVariantsBulkUpdate', number($operation), 4, [41000000000009], '0.05' ], 'with the operation and the line');
is($effects->{mutations}{productVariantsBulkUpdate}, undef, 'they are no requests');
cmp_ok($effects->{points}, '<', 11 + 10 + 3 * 2000, 'and cost nothing but the start');
is(ask('{ currentBulkOperation(type: MUTATION) { id } }')->{data}{currentBulkOperation}{id}, $operation, 'the newest is found by its type');

@lines = results(finish(start($prices, price_line(1, '-1'), price_line(2, '2.50'), { id => gid('Product', 1), variants => [] },
	{ variants => [] }, 'nonsense'))->{url});
my %line = map { $_->{__lineNumber} => $_ } @lines;
is_deeply($line{0}{data}{productVariantsBulkUpdate}{userErrors}, [ { field => [ 'variants', '0', 'price' ],
	code => 'GREATER_THAN_OR_EQUAL_TO', message => 'Price must be greater than or equal to 0' } ], 'a line that is wrong has userErrors');
is_deeply($line{1}{data}{productVariantsBulkUpdate}{userErrors}, [], 'the others are not touched by it');
is($line{2}{data}{productVariantsBulkUpdate}{userErrors}[0]{code}, 'PRODUCT_DOES_NOT_EXIST', 'nor by a product that is gone');
is($line{3}{errors}[0]{extensions}{code}, 'INVALID_VARIABLE', 'variables that are wrong are an error of their line');
ok($line{4}{errors}, 'so is a line that is no JSON');
is(scalar @{ $shop->effects->{rejected} }, 1, 'what the schema refuses in a line is recorded');
$shop->reset;

my $set = 'mutation Set($input: InventorySetQuantitiesInput!, $key: String!) {
	inventorySetQuantities(input: $input) @idempotent(key: $key) { inventoryAdjustmentGroup { id } userErrors { code field message } } }';
my $place = gid('Location', 60000000001);
sub stock { my ($n) = @_; return $shop->product(7000000000000 + $n)->{variants}[0]{stock}{60000000001}{available} }
sub stock_line
{
	my ($n, $to, $from, $key) = @_;
	return { key => $key, input => { name => 'available', reason => 'correction', quantities => [ { inventoryItemId =>
		gid('InventoryItem', 42999999999999 + 2 * $n), locationId => $place, quantity => $to, changeFromQuantity => $from } ] } };
}
my @was = (0, map { stock($_) } 1 .. 3);
@lines = results(finish(start($set, stock_line(1, $was[1] + 7, $was[1], 'one'), stock_line(2, 5, $was[2] + 1, 'two')))->{url});
%line = map { $_->{__lineNumber} => $_ } @lines;
is_deeply([ stock(1), $line{1}{data}{inventorySetQuantities}{userErrors}[0]{code} ], [ $was[1] + 7, 'CHANGE_FROM_QUANTITY_STALE' ],
	'stock by bulk is compared');
is($shop->writes(key => 'one')->[0]{product}, 7000000000001, 'an effect is found by its idempotency key');
finish(start($set, stock_line(1, $was[1] + 7, $was[1], 'one')));
is(scalar @{ $shop->writes(key => 'one') }, 1, 'which does not work twice');
is((results(finish(start($set =~ s/ \@idempotent\(key: \$key\)//r =~ s/, \$key: String!//r, stock_line(3, 1, undef, 'x')))->{url}))[0]
	{errors}[0]{extensions}{code}, 'BAD_REQUEST', 'the directive is required in bulk too');
$shop->reset;

# Faults of operations.
$shop->control(bulk_next => ['FAILED'], bulk_fail_after => 3);
$state = finish(start($prices, map { price_line($_, '11.00') } 1 .. 10));
is_deeply([ @$state{qw(status errorCode objectCount url)}, scalar(results($state->{partialDataUrl})), scalar @{ $shop->writes } ],
	[ 'FAILED', 'INTERNAL_SERVER_ERROR', '3', undef, 3, 3 ], 'one that fails has run some lines, and tells which');
$shop->control(bulk_mutation_cut => 2);
$state = finish(start($prices, map { price_line($_, '12.00') } 1 .. 10));
is_deeply([ @$state{qw(status objectCount)}, scalar(results($state->{partialDataUrl})), scalar @{ $shop->writes } ], [ 'FAILED', '2', 2, 5 ],
	'the next can be cut after a number of lines');
is(finish(start($prices, price_line(1, '13.00')))->{status}, 'COMPLETED', 'only the next');
$shop->control(bulk_next => ['CANCELED']);
is_deeply([ @{ finish(start($prices, map { price_line($_, '14.00') } 1 .. 10)) }{qw(status objectCount)} ], [ 'CANCELED', '3' ],
	'Shopify can cancel one by itself');
$shop->control(bulk_next => ['EXPIRED']);
is(finish(start($prices, price_line(1, '15.00')))->{status}, 'EXPIRED', 'one whose result is gone');
is($shop->product(7000000000001)->{variants}[0]{price}, '15.00', 'has run all the same');
$shop->control(bulk_lose_next => 1);
$state = finish(start($prices, price_line(1, '16.00'), price_line(2, '16.00')));
is_deeply([ $state->{objectCount}, scalar(results($state->{url})) ], [ '2', 1 ], 'a line of the result can be lost');
$shop->control(scopes => ['read_products']);
is_deeply([ @{ finish(start($prices, map { price_line($_, '17.00') } 1 .. 3)) }{qw(status errorCode)} ], [ 'FAILED', 'ACCESS_DENIED' ],
	'one without the scope of its mutation fails by it');
$shop->control(scopes => [qw(write_products write_inventory write_publications write_files)]);

$shop->control(bulk_hold => \1, bulk_hold_after => 2);
$operation = start($prices, map { price_line($_, '18.00') } 1 .. 5);
for (1 .. 500) { last if state_of($operation)->{objectCount} eq '2'; sleep 0.01 }
is_deeply([ @{ state_of($operation) }{qw(status objectCount url)} ], [ 'RUNNING', '2', undef ], 'one that runs shows how far it is');
my $query = 'mutation Q { bulkOperationRunQuery(query: "{ products { edges { node { id } } } }") { bulkOperation { id }
	userErrors { code field message } } }';
my @ids = ($operation, (map { ask($query)->{data}{bulkOperationRunQuery}{bulkOperation}{id} } 1 .. 2),
	map { start($prices, price_line(9, '19.00')) } 1 .. 2);
is(refused($prices, upload(price_line(1, '1.00'))), 'OPERATION_IN_PROGRESS |  | A bulk mutation operation for this app and shop is already '
	. 'in progress: ' . join(', ', @ids) . '.', 'five at once, of both types together, are all that may run');
is(refused($prices, 'tmp/none.jsonl'), $no_file, 'a file that is not there is seen first');
like(user_error(ask($query), 'bulkOperationRunQuery'), qr/^OPERATION_IN_PROGRESS/, 'nor may a sixth query');
ask('mutation C($id: ID!) { bulkOperationCancel(id: $id) { bulkOperation { status } } }', { id => $operation });
$state = finish($operation);
is_deeply([ @$state{qw(status objectCount)}, scalar results($state->{partialDataUrl}) ], [ 'CANCELED', '2', 2 ],
	'one that is cancelled keeps what it did');
$shop->control(bulk_hold => \0, bulk_hold_after => 0);
is(join(' ', map { finish($_)->{status} } @ids), 'CANCELED COMPLETED COMPLETED COMPLETED COMPLETED', 'the others come to their end');
ask('mutation W { webhookSubscriptionCreate(topic: BULK_OPERATIONS_FINISH, webhookSubscription: {uri: "https://sync.example.com/hook"}) {
	userErrors { message } } }');
finish(start($prices, price_line(1, '20.00')));
is(decode_json(($shop->webhooks(topic => 'BULK_OPERATIONS_FINISH'))[0]{body})->{type}, 'mutation', 'the end is told by webhook too');

# ---- stock at a new location -------------------------------------------------------------------------------------------------------

my $activate = 'mutation A($item: ID!, $location: ID!, $available: Int, $onHand: Int, $key: String!) {
	inventoryActivate(inventoryItemId: $item, locationId: $location, available: $available, onHand: $onHand) @idempotent(key: $key) {
		inventoryLevel { quantities(names: ["available"]) { quantity } } userErrors { field message } } }';
my %there = (item => gid('InventoryItem', 43000000000001), location => gid('Location', 60000000002));
is(first_error(ask('mutation A($item: ID!, $location: ID!) { inventoryActivate(inventoryItemId: $item, locationId: $location) {
	inventoryLevel { id } } }', {%there}))->{message}, 'The @idempotent directive is required for this mutation but was not provided.',
	'activating needs the directive');
is(user_error(ask($activate, { %there, available => 1, onHand => 1, key => 'both' }), 'inventoryActivate'),
	' | available | The product couldn\'t be stocked at Toronto because not allowed to set available and on_hand quantities at the same time.',
	'one of two quantities');
$answer = ask($activate, { %there, available => 4, key => 'there' });
is($answer->{data}{inventoryActivate}{inventoryLevel}{quantities}[0]{quantity}, 4, 'an item is stocked at another location');
ask($activate, { %there, available => 4, key => 'there' });
is_deeply([ map { [ @$_{qw(mutation product variants)}, $_->{fields} ] } @{ $shop->writes(key => 'there') } ], [ [ 'inventoryActivate',
	7000000000001, [41000000000001], { 'variants[41000000000001].stock[60000000002].available' => [ undef, 4 ] } ] ],
	'once, however often it is asked for with the same key');
is(user_error(ask($activate, { %there, available => 9, key => 'again' }), 'inventoryActivate'),
	' | available | Not allowed to set available quantity when the item is already active at the location.', 'not over what is there');
is(user_error(ask($activate, { %there, item => gid('InventoryItem', 1), key => 'gone' }), 'inventoryActivate'),
	' | inventoryItemId | The product couldn\'t be stocked because the product was deleted.', 'nor what is gone');

# ---- images ------------------------------------------------------------------------------------------------------------------------

my $third = product_gid(3);
sub images { return map { "$_->{source} $_->{alt}" =~ s{.*/}{}r } @{ $shop->product(7000000000003)->{images} } }
my $add = 'mutation P($p: ProductUpdateInput!, $media: [CreateMediaInput!]) { productUpdate(product: $p, media: $media) {
	product { media(first: 10) { nodes { id alt status ... on MediaImage { image { url } } } } } userErrors { field message } } }';
my @new = map { { mediaContentType => 'IMAGE', originalSource => "https://images.example.com/$_.jpg", alt => "Alt $_" } } qw(a b);
$answer = ask($add, { p => { id => $third }, media => [@new] });
my @media = @{ $answer->{data}{productUpdate}{product}{media}{nodes} };
is_deeply([ map { $_->{status} } @media ], [ 'READY', 'READY', 'READY' ], 'images are added, and ready at once');
like($media[1]{image}{url}, qr{^https://cdn\.shopify\.com/.*/a\.jpg\?v=}, 'with an address of Shopify\'s own');
($write) = @{ $shop->writes(product => 7000000000003, mutation => 'productUpdate') };
is_deeply([ map { scalar @$_ } @{ $write->{fields}{images} } ], [ 1, 3 ], 'old and new are recorded');
is(user_error(ask($add, { p => { id => $third }, media => [ { %{ $new[0] }, originalSource => 'nowhere' } ] }), 'productUpdate'),
	' | media.0.originalSource | Image URL is invalid', 'no address');

my $reorder = 'mutation R($id: ID!, $moves: [MoveInput!]!) { productReorderMedia(id: $id, moves: $moves) {
	job { id done } mediaUserErrors { field code message } } }';
$answer = ask($reorder, { id => $third, moves => [ { id => $media[2]{id}, newPosition => '0' }, { id => $media[0]{id}, newPosition => '9' } ] });
like($answer->{data}{productReorderMedia}{job}{id}, qr{^gid://shopify/Job/}, 'reordering is a job');
is(ask('query J($id: ID!) { job(id: $id) { done } }', { id => $answer->{data}{productReorderMedia}{job}{id} })->{data}{job}{done},
	JSON::PP::true, 'that ends');
is(join(', ', (images())[0, 1]), 'b.jpg Alt b, a.jpg Alt a', 'moves are done one after the other');
is(user_error(ask($reorder, { id => product_gid(9999), moves => [] }), 'productReorderMedia', 'mediaUserErrors'),
	'PRODUCT_DOES_NOT_EXIST | id | Product does not exist', 'of no product none');

my $update = 'mutation F($files: [FileUpdateInput!]!) { fileUpdate(files: $files) { files { id alt fileStatus }
	userErrors { field code message } } }';
is(ask($update, { files => [ { id => $media[1]{id}, alt => 'Better' } ] })->{data}{fileUpdate}{files}[0]{alt}, 'Better', 'a text is changed');
is((images())[1], 'a.jpg Better', 'in the product too');
$answer = ask($update, { files => [ { id => $media[1]{id}, alt => 'Best' }, { id => $media[2]{id}, alt => 'x' x 513 } ] });
is(user_error($answer, 'fileUpdate'), 'ALT_VALUE_LIMIT_EXCEEDED | files.1.alt | The alt value exceeds the maximum limit of 512 characters.',
	'too long a text');
is((images())[1], 'a.jpg Best', 'stops no other');
is(user_error(ask($update, { files => [ { id => gid('MediaImage', 9), alt => 'x' } ] }), 'fileUpdate'),
	'FILE_DOES_NOT_EXIST | files | File id ["gid://shopify/MediaImage/9"] does not exist.', 'a file that is not there');
ask('mutation V($id: ID!, $v: [ProductVariantsBulkInput!]!) {
	productVariantsBulkUpdate(productId: $id, variants: $v) { userErrors { code message } } }',
	{ id => $third, v => [ { id => variant_gid(3), mediaId => $media[1]{id} } ] });
ask($update, { files => [ { id => $media[1]{id}, referencesToRemove => [$third] } ] });
is(join(', ', map { s/ .*//r } images()), 'b.jpg, ' . ((images())[1] =~ s/ .*//r), 'an image is taken out of a product');
is_deeply($shop->writes(product => 7000000000003)->[-1]{fields}{'variants[41000000000005].mediaId'}, [ 0 + ($media[1]{id} =~ /(\d+)$/)[0],
	undef ], 'and of its variant');
ask($update, { files => [ { id => $media[1]{id}, referencesToAdd => [$third] } ] });
is((images())[2], 'a.jpg Best', 'it is still there to be added again');
my $delete = 'mutation D($id: ID!, $media: [ID!]!) { productDeleteMedia(productId: $id, mediaIds: $media) { deletedMediaIds
	mediaUserErrors { field code message } } }';
is_deeply(ask($delete, { id => $third, media => [ $media[1]{id} ] })->{data}{productDeleteMedia}{deletedMediaIds}, [ $media[1]{id} ],
	'or deleted for good');
is(user_error(ask($delete, { id => $third, media => [ $media[1]{id} ] }), 'productDeleteMedia', 'mediaUserErrors'),
	"MEDIA_DOES_NOT_EXIST | mediaIds | Media id $media[1]{id} does not exist", 'once');

$shop->control(media_processing_ms => 10000);
$answer = ask($add, { p => { id => $third }, media => [ $new[0] ] });
my $slow = $answer->{data}{productUpdate}{product}{media}{nodes}[-1];
is_deeply([ $slow->{status}, $slow->{image} ], [ 'UPLOADED', undef ], 'an image can take its time');
is(user_error(ask($update, { files => [ { id => $slow->{id}, alt => 'x' } ] }), 'fileUpdate'),
	'NON_READY_STATE | files | Non-ready files cannot be updated.', 'and is not to be changed meanwhile');
my $status = 'query N($id: ID!) { node(id: $id) { ... on MediaImage { status image { url } mediaErrors { code } } } }';
$shop->control(advance => 6);
is(ask($status, { id => $slow->{id} })->{data}{node}{status}, 'PROCESSING', 'then it is being processed');
$shop->control(advance => 5, media_processing_ms => 0, media_fail_next => 1);
ok(ask($status, { id => $slow->{id} })->{data}{node}{image}{url}, 'and ready at last');
$answer = ask($add, { p => { id => $third }, media => [ $new[1] ] });
is($answer->{data}{productUpdate}{product}{media}{nodes}[-1]{status}, 'FAILED', 'or it fails');

# ---- several mutations in one request ----------------------------------------------------------------------------------------------

$shop->reset;
$answer = ask('mutation Two($a: InventorySetQuantitiesInput!, $b: InventorySetQuantitiesInput!, $k: String!, $p: ProductUpdateInput!,
	$gone: ProductUpdateInput!) {
	first: inventorySetQuantities(input: $a) @idempotent(key: $k) { inventoryAdjustmentGroup { id } userErrors { code } }
	second: inventorySetQuantities(input: $b) @idempotent(key: "literal") { inventoryAdjustmentGroup { id } userErrors { code } }
	third: productUpdate(product: $p) { product { title } userErrors { message } }
	fourth: productUpdate(product: $gone) { product { title } userErrors { message } } }',
	{ a => stock_line(10, 77, undef)->{input}, b => stock_line(10, 88, 77)->{input}, k => 'alias-1',
		p => { id => product_gid(10), title => 'Third' }, gone => { id => product_gid(9999), title => 'Nobody' } });
is_deeply([ map { $answer->{data}{$_}{userErrors} } qw(first second third fourth) ],
	[ [], [], [], [ { message => 'Product does not exist' } ] ], 'each has its own payload');
is(stock(10), 88, 'each sees what the one before it did');
is_deeply([ map { [ @$_{qw(alias mutation key)} ] } @{ $shop->writes } ], [ [ 'first', 'inventorySetQuantities', 'alias-1' ],
	[ 'second', 'inventorySetQuantities', 'literal' ], [ 'third', 'productUpdate', undef ] ], 'each effect knows its alias and key');
is($answer->{extensions}{cost}{requestedQueryCost}, 10 + 1 + 10 + 1 + 10 + 10 - 2, 'their costs are added up')
	or diag $json->encode($answer->{extensions});
is_deeply($shop->effects->{mutations}, { inventorySetQuantities => 2, productUpdate => 2 }, 'and counted by root field');
$shop->control(denied => { 'Mutation.productUpdate' => 'write_products' });
$answer = ask('mutation M($p: ProductUpdateInput!, $i: InventorySetQuantitiesInput!) {
	a: productUpdate(product: $p) { product { id } } b: inventorySetQuantities(input: $i) @idempotent(key: "b") { userErrors { code } } }',
	{ p => { id => product_gid(10), title => 'No' }, i => stock_line(10, 5, undef)->{input} });
is_deeply([ $answer->{data}{a}, first_error($answer)->{path}, stock(10) ], [ undef, ['a'], 5 ], 'an error of one stops no other');
$shop->control(denied => {}, scopes => [ 'write_products', 'read_inventory' ]);
$answer = ask($set, stock_line(10, 6, undef, 'denied'));
like(first_error($answer)->{message}, qr/^Access denied for inventorySetQuantities field\. Required access: `write_inventory` access scope\./,
	'a scope that is missing');
is_deeply([ first_error($answer)->{extensions}{code}, $answer->{data}, stock(10) ],
	[ 'ACCESS_DENIED', { inventorySetQuantities => undef }, 5 ], 'stops a mutation before its effect');
is(first_error(ask($update, { files => [] }))->{extensions}{code}, 'ACCESS_DENIED', 'files have a scope of their own');
$shop->control(scopes => [qw(write_products write_inventory write_publications write_files)]);

# ---- what is not there any more, and limits ----------------------------------------------------------------------------------------

$shop->edit({ product => 7000000000011, remove_variants => ['CWS-100011'] }, { product => 7000000000012, delete => \1 });
is(user_error(ask($prices, price_line(11, '1.00')), 'productVariantsBulkUpdate'),
	'PRODUCT_VARIANT_DOES_NOT_EXIST | variants.0.id | Product variant does not exist', 'a variant that is gone');
is(user_error(ask($prices, price_line(12, '1.00')), 'productVariantsBulkUpdate'),
	'PRODUCT_DOES_NOT_EXIST | productId | Product does not exist', 'a product that is gone');
is(user_error(ask($set, stock_line(12, 1, undef, 'item gone')), 'inventorySetQuantities'),
	'INVALID_INVENTORY_ITEM | input.quantities.0.inventoryItemId | The specified inventory item could not be found.', 'its stock');
my $create = 'mutation C($id: ID!, $v: [ProductVariantsBulkInput!]!) { productVariantsBulkCreate(productId: $id, variants: $v) {
	productVariants { id } userErrors { code field message } } }';
my @sizes = map { { price => '1.00', optionValues => [ { optionName => 'Pack', name => "Size $_" } ] } } 3 .. 2049;
is(user_error(ask($create, { id => product_gid(13), v => [@sizes] }), 'productVariantsBulkCreate'),
	'INVALID_INPUT | variants | Product cannot have more than 2048 variants', '2,049 variants are too many');
is(scalar @{ ask($create, { id => product_gid(13), v => [ @sizes[ 0 .. 2045 ] ] })->{data}{productVariantsBulkCreate}{productVariants} }, 2046,
	'2,048 are not');
$shop->blameless('all this is understood too');

# ---- writes whose answer does not come ---------------------------------------------------------------------------------------------

sub title { return $shop->product(7000000000020)->{title} }
sub rename_to { my ($title) = @_; return ask($add, { p => { id => product_gid(20), title => $title } })->{_status} }
$shop->control(lose_answer_next => 1, lose_answer_of => 'mutation');
is(ask('{ shop { name } }')->{data}{shop}{name}, 'Test Shop', 'a query is answered');
is(rename_to('Lost'), 599, 'the answer of a mutation is lost');
is(title(), 'Lost', 'what it asked for is done');
is(rename_to('Answered'), 200, 'only as often as wanted');
$shop->control(crash_before_effect_next => 1, crash_of => 'productUpdate');
is(ask($prices, price_line(20, '3.00'))->{_status}, 200, 'another mutation goes through');
is(rename_to('Never'), 599, 'one that is cut off before');
is(title(), 'Answered', 'has done nothing');
$shop->control(lose_answer_next => 1, lose_answer_of => 'upload', crash_of => '');
$target = target();
is(post($target->{url}, parts($target), [ file => $json->encode(price_line(20, '4.00')) ])->{status}, 599, 'an upload without an answer');
is(refused($prices, key_of($target)), ' |  | ', 'is there');
is_deeply([ @{ $shop->effects }{qw(lost_answers crashed)} ], [ 2, 1 ], 'all this is counted');
my $before = stock(21);
$shop->control(lose_answer_next => 1, lose_answer_of => 'inventorySetQuantities');
my $line = stock_line(21, $before + 1, $before, 'unknown outcome');
is(ask($set, $line)->{_status}, 599, 'stock that is set without an answer');
is_deeply(ask($set, $line)->{data}{inventorySetQuantities}{userErrors}, [], 'is right when it is asked for again with its key');
is(stock(21) . ' ' . @{ $shop->writes(key => 'unknown outcome') }, $before + 1 . ' 1', 'and done once');
$shop->control(frozen => \1);
is(ask('{ shop { name } }')->{_status} . ' ' . rename_to('Frozen'), '402 402', 'a frozen shop answers nothing');
$shop->control(frozen => \0);
is(rename_to('Thawed'), 200, 'until it is not frozen any more');

# ---- load --------------------------------------------------------------------------------------------------------------------------

$shop->reset;
$shop->control(restore_rate => 100, other_client_rate => 60, fill_bucket => 1000);
$shop->control(advance => 10);
my $left = ask('{ shop { id } }')->{extensions}{cost}{throttleStatus};
ok($left->{currentlyAvailable} >= 1395 && $left->{currentlyAvailable} <= 1450,
	"another client takes its part of what comes back ($left->{currentlyAvailable})");
is($left->{restoreRate}, 100, 'without a word');
$shop->control(other_client_rate => 150);
$shop->control(advance => 60);
is(first_error(ask('{ products(first: 250) { nodes { id } } }'))->{extensions}{code}, 'THROTTLED', 'or all of it');
$shop->control(other_client_rate => 0, fill_bucket => \1);
rename_to('Counted');
my @seconds = @{ $shop->effects->{seconds} };
my %sum;
for my $second (@seconds) { $sum{$_} += $second->{$_} for grep { $_ ne 'second' } keys %$second }
my $points = 0;
$points += $_->{actual} // 0 for @{ $shop->log };
is_deeply(\%sum, { requests => 3, points => $points, throttled => 1, failed => 0 }, 'requests, points and THROTTLED are told by the second')
	or diag $json->encode(\@seconds);
is_deeply([ map { $_->{throttled} ? 'throttled' : 'answered' } @{ $shop->log } ], [ 'answered', 'throttled', 'answered' ],
	'and each request in the log');
$shop->edit({ product => 7000000000030, set => { title => 'By hand' } });
is_deeply([ map { $_->{fields}{title}[1] } @{ $shop->writes(by => 'merchant') } ], ['By hand'], 'what the merchant did is told apart');

done_testing;
