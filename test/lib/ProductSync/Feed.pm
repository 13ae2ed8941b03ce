# Feeds for tests: made-up ones by test/bench/make_feed.js, tiny ones written by hand, and zips that are broken in a chosen way.
#   my $zip = ProductSync::Feed::made_up(dir => $folder, products => 200, generation => 1);      # path of a zip
#   my $zip = ProductSync::Feed::by_hand({ Title => ..., SKU => ... }, ...);                     # bytes of a zip
#   my $zip = ProductSync::Feed::zip('feed.csv' => $csv);   ProductSync::Feed::hostile('truncated')
package ProductSync::Feed;
use strict;
use warnings;
use Carp;
use Compress::Zlib qw(crc32);
use Compress::Raw::Zlib;
use File::Temp qw(tempdir);
use ProductSync::Server;

my $number = 0;

# Path of a zip made by make_feed.js, whose options these are; `dir` is where it goes.
sub made_up
{
	my (%option) = @_;
	my $dir = delete $option{dir} // $ENV{TESTDATADIR} // '/tmp';
	my $out = "$dir/feed-$$-" . ++$number . ($option{csv} ? '.csv' : '.zip');
	delete $option{csv};
	my @command = ('node', "$ProductSync::Server::top/test/bench/make_feed.js", '--out', $out, map { ("--$_", $option{$_}) } sort keys %option);
	open my $pipe, '-|', @command or croak "make_feed.js: $!";
	my $said = join '', <$pipe>;
	close $pipe or croak "make_feed.js failed: $said";
	return $out;
}

my @header = ('Title', 'URL handle', 'Description', 'Vendor', 'Type', 'Tags', 'Status', 'SKU', 'Barcode', 'Option1 name', 'Option1 value',
	'Price', 'Weight value (grams)', 'Product image URL', 'Image position', 'Image alt text', 'Google Shopping / MPN',
	'Metafield: custom.CWS_A[list.single_line_text]');

sub quoted
{
	my ($text) = @_;
	return $text unless $text =~ /[",\r\n]/;
	$text =~ s/"/""/g;
	return qq("$text");
}

# The CSV of some rows, each a hash of header to value; columns that no row mentions in @header are added at the end.
sub csv
{
	my (@rows) = @_;
	my %seen = map { $_ => 1 } @header;
	my @columns = (@header, grep { !$seen{$_}++ } map { sort keys %$_ } @rows);
	return join '', map { "$_\n" } join(',', map { quoted($_) } @columns),
		map { my $row = $_; join ',', map { quoted($row->{$_} // '') } @columns } @rows;
}

sub by_hand { return zip('feed.csv' => csv(@_)) }

# The bytes of a zip of name => content pairs.  An option hash may come first: crc (value to write), size (length to claim),
# flags (to set), truncate (bytes to keep).
sub zip
{
	my %option = ref $_[0] ? %{ shift() } : ();
	my ($body, $directory, $count) = ('', '', 0);

	while (my ($name, $content) = splice @_, 0, 2)
	{
		my ($deflate) = Compress::Raw::Zlib::Deflate->new(-WindowBits => -MAX_WBITS(), -AppendOutput => 1);
		my $packed = '';
		$deflate->deflate($content, $packed);
		$deflate->flush($packed);
		my @fields = (20, $option{flags} // 0, 8, 0, 0x5521, $option{crc} // crc32($content), length $packed, $option{size} // length $content,
			length $name, 0);
		$directory .= pack('VvvvvvvVVVvvvvvVV', 0x02014b50, 20, @fields, 0, 0, 0, 0, length $body) . $name;
		$body .= pack('VvvvvvVVVvv', 0x04034b50, @fields) . $name . $packed;
		$count++;
	}
	my $zip = $body . $directory . pack('VvvvvVVv', 0x06054b50, 0, 0, $count, $count, length $directory, length $body, 0);
	return defined $option{truncate} ? substr($zip, 0, $option{truncate}) : $zip;
}

# A zip whose one member needs a password, as zip itself writes it.
sub encrypted
{
	my ($content) = @_;
	my $dir = tempdir(CLEANUP => 1);
	open my $out, '>:raw', "$dir/feed.csv" or croak $!;
	print $out $content;
	close $out;
	system('zip', '-q', '-j', '-P', 'secret', "$dir/feed.zip", "$dir/feed.csv") == 0 or croak 'zip failed';
	open my $in, '<:raw', "$dir/feed.zip" or croak $!;
	local $/;
	return scalar <$in>;
}

# Bytes of a file that must be refused, by kind; hostile() without a kind lists the kinds.
sub hostile
{
	my ($kind) = @_;
	my $good = csv(map { { Title => "Binder $_", 'URL handle' => "binder-$_", Vendor => 'Acme', Type => 'Binders', SKU => "HB-$_", Price => '9.95' } } 1 .. 200);
	my %made = (
		truncated => sub { zip({ truncate => 1000 }, 'feed.csv' => $good) },
		corrupt => sub { zip({ crc => 0x12345678 }, 'feed.csv' => $good) },
		encrypted => sub { encrypted($good) },
		bomb => sub { zip('feed.csv' => $good . "\n" . '0' x 100_000_000) },
		lying => sub { zip({ size => 100 }, 'feed.csv' => $good) },
		many => sub { zip(map { ("file-$_.txt" => '') } 1 .. 5000) },
		path => sub { zip('../x.csv' => $good) },
		empty => sub { '' },
		empty_member => sub { zip('feed.csv' => '') },
		no_csv => sub { zip('readme.txt' => 'nothing here') },
		no_sku => sub { (my $text = $good) =~ s/^([^\n]*),SKU,/$1,Stock keeping,/; zip('feed.csv' => $text) },
		not_zip => sub { "<html>Not found</html>\n" x 100 },
	);
	return sort keys %made unless defined $kind;
	return $made{$kind}->();
}

1;
